"""Measuring Fivefold: `fivefold bench`, its load, its floor, its baseline by agreement, its pictures."""
