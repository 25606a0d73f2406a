"""The fuzz targets of ``tests/fuzz`` under hypothesis, and the inputs that once broke them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.cluster import parse_configuration
from fivefold.errors import ConfigurationError, PeerViolation
from fivefold.protocol.server.versions import decode_version
from tests.fuzz import targets

scripts = st.binary(max_size=200)


@pytest.mark.slow
@settings(max_examples=6000)
@given(scripts)
def test_decoders_refuse_with_peer_violation_only(data):
    """Whatever the bytes, a decoder gives a value or raises PeerViolation."""
    targets.decoding(data)


@settings(max_examples=600)
@given(scripts)
def test_the_cluster_file_is_refused_with_configuration_error_only(data):
    """Whatever the text, the parser gives a configuration that comes back as written, or raises ConfigurationError."""
    targets.cluster_file(data)


@settings(max_examples=600)
@given(scripts)
def test_a_server_survives_whatever_it_receives(data):
    """No script of altered frames, false answers and pauses makes a server raise or stop answering."""
    targets.receiving(data)


@settings(max_examples=250)
@given(st.binary(max_size=400))
def test_servers_with_a_past_take_any_sets_with_any_operation(data):
    """No request makes a server raise, fork, show what no disk has or pass over a right; all objects stay alive."""
    targets.TARGETS["requests"](data)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_a_session_tells_the_truth_whatever_one_server_sends(data):
    """Every call ends by its deadline: answered and applied once, or "nothing changed" and not applied."""
    targets.TARGETS["sessions"](data)


@settings(max_examples=200)
@given(scripts)
def test_altered_files_are_refused_named_or_harmless(data):
    """Nothing that was promised is forgotten, and no damage ends in a traceback."""
    targets.TARGETS["files"](data)


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = " + "{b = " * 1000, "a = " + "1" * 5000])
def test_a_cluster_file_that_tires_the_toml_parser_is_refused(text):
    """Deep nesting and endless numbers are ConfigurationErrors, though the TOML parser reports neither as its own."""
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        parse_configuration(text)


def test_a_version_with_deep_nesting_behind_its_fields_is_refused():
    """What stands behind the last field is skipped by the decoder, and may be nested as deep as a liar likes."""
    with pytest.raises(PeerViolation, match="version-malformed"):
        decode_version(b"\x96\x00\x00\xc4\x00\x90\xc4\x00" + b"\x91" * 100_000)
