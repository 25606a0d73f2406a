"""Remote objects of fivefold with the types of their methods; made by `fivefold stubs fivefold`."""

import fivefold as _fivefold
import fivefold as _module


class RemoteAccount(_fivefold.TypedRemote[_module.Account]):
    """Account on the servers."""

    balance = _fivefold.remote(_module.Account.balance)
    deposit = _fivefold.remote(_module.Account.deposit)
    withdraw = _fivefold.remote(_module.Account.withdraw)


class RemoteCounter(_fivefold.TypedRemote[_module.Counter]):
    """Counter on the servers."""

    add = _fivefold.remote(_module.Counter.add)
    decrement = _fivefold.remote(_module.Counter.decrement)
    get = _fivefold.remote(_module.Counter.get)
    increment = _fivefold.remote(_module.Counter.increment)


class RemoteLock(_fivefold.TypedRemote[_module.Lock]):
    """Lock on the servers."""

    acquire = _fivefold.remote(_module.Lock.acquire)
    holder = _fivefold.remote(_module.Lock.holder)
    release = _fivefold.remote(_module.Lock.release)
    renew = _fivefold.remote(_module.Lock.renew)


class RemoteMap(_fivefold.TypedRemote[_module.Map]):
    """Map on the servers."""

    compare_and_set = _fivefold.remote(_module.Map.compare_and_set)
    contains = _fivefold.remote(_module.Map.contains)
    delete = _fivefold.remote(_module.Map.delete)
    get = _fivefold.remote(_module.Map.get)
    keys = _fivefold.remote(_module.Map.keys)
    put = _fivefold.remote(_module.Map.put)
    put_if_absent = _fivefold.remote(_module.Map.put_if_absent)
    size = _fivefold.remote(_module.Map.size)


class RemoteQueue(_fivefold.TypedRemote[_module.Queue]):
    """Queue on the servers."""

    peek = _fivefold.remote(_module.Queue.peek)
    put = _fivefold.remote(_module.Queue.put)
    set_capacity = _fivefold.remote(_module.Queue.set_capacity)
    size = _fivefold.remote(_module.Queue.size)
    take = _fivefold.remote(_module.Queue.take)


class RemoteRegister(_fivefold.TypedRemote[_module.Register]):
    """Register on the servers."""

    compare_and_set = _fivefold.remote(_module.Register.compare_and_set)
    read = _fivefold.remote(_module.Register.read)
    write = _fivefold.remote(_module.Register.write)
