# SPDX-License-Identifier: Apache-2.0
"""A client of mcomp.proto that shares no code with the project: its own varints, its own messages.

It says exactly what a test tells it to say, right or wrong, and hides nothing of what comes back.
"""
import socket

from waiting import PATIENCE_S

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

STATUS = {
    "UNSPECIFIED": 0, "OK": 1, "CANCELLED": 2, "UNKNOWN": 3, "INVALID_ARGUMENT": 4, "DEADLINE_EXCEEDED": 5, "NOT_FOUND": 6,
    "ALREADY_EXISTS": 7, "PERMISSION_DENIED": 8, "RESOURCE_EXHAUSTED": 9, "FAILED_PRECONDITION": 10, "ABORTED": 11,
    "OUT_OF_RANGE": 12, "UNIMPLEMENTED": 13, "INTERNAL": 14, "UNAVAILABLE": 15, "DATA_LOSS": 16, "UNAUTHENTICATED": 17,
    "WRONG_NODE": 18,
}
STATUS_NAME = {number: name for name, number in STATUS.items()}

# Field number -> (name, type). Types: uint, bool, fixed32, fixed64, string, bytes, or the name of a message; a star before it means repeated.
COUNT = {1: ("count", "uint"), 2: ("errors", "uint"), 3: ("bytes", "uint")}
SCHEMA = {
    "Request": {1: ("id", "uint"), 2: ("timeout_ms", "uint"), 8: ("hello", "Hello"), 9: ("read", "Read"), 10: ("write", "Write"),
                11: ("fetch_add", "FetchAdd"), 12: ("compare_and_swap", "CompareAndSwap"), 13: ("multi", "Multi"),
                14: ("status", "StatusQuery"), 16: ("restore_begin", "RestoreBegin"), 17: ("restore_data", "RestoreData"),
                18: ("restore_end", "RestoreEnd"), 24: ("open_session", "OpenSession"), 25: ("close_session", "CloseSession"),
                26: ("execute", "Execute"), 27: ("prepare", "Prepare"), 28: ("decide", "Decide"), 29: ("resolve", "Resolve"),
                30: ("list_transactions", "ListTransactions")},
    "Response": {1: ("id", "uint"), 2: ("status", "uint"), 3: ("message", "string"), 8: ("hello", "HelloResult"),
                 9: ("read", "ReadResult"), 10: ("write", "WriteResult"), 11: ("fetch_add", "FetchAddResult"),
                 12: ("compare_and_swap", "CompareAndSwapResult"), 13: ("multi", "MultiResult"),
                 14: ("node_status", "StatusResult"), 15: ("wrong_node", "WrongNode"), 16: ("restore_begin", "RestoreBeginResult"),
                 17: ("restore_data", "RestoreDataResult"), 18: ("restore_end", "RestoreEndResult"),
                 24: ("open_session", "OpenSessionResult"), 25: ("close_session", "CloseSessionResult"), 26: ("transaction", "TransactionResult"),
                 30: ("list_transactions", "ListTransactionsResult")},
    "Hello": {1: ("protocol_version", "uint"), 2: ("grid", "string"), 3: ("segment_size", "uint"), 4: ("nodes", "uint"),
              5: ("node_plus_one", "uint"), 6: ("client", "string")},
    "HelloResult": {1: ("protocol_version", "uint"), 2: ("grid", "string"), 3: ("segment_size", "uint"), 4: ("nodes", "uint"),
                    5: ("node", "uint"), 6: ("max_message", "uint"), 7: ("max_in_flight", "uint"), 8: ("segment_id", "uint"),
                    9: ("server", "string")},
    "Read": {1: ("address", "uint"), 2: ("length", "uint")},
    "ReadResult": {1: ("data", "bytes")},
    "Write": {1: ("address", "uint"), 2: ("data", "bytes")},
    "WriteResult": {},
    "FetchAdd": {1: ("address", "uint"), 2: ("delta", "uint")},
    "FetchAddResult": {1: ("before", "uint")},
    "CompareAndSwap": {1: ("address", "uint"), 2: ("expected", "uint"), 3: ("desired", "uint")},
    "CompareAndSwapResult": {1: ("swapped", "bool"), 2: ("found", "uint")},
    "Multi": {1: ("reads", "*Read"), 2: ("writes", "*Write")},
    "MultiResult": {1: ("data", "*bytes")},
    "StatusQuery": {},
    "StatusResult": {
        1: ("grid", "string"), 2: ("node", "uint"), 3: ("nodes", "uint"), 4: ("segment_size", "uint"), 5: ("segment_id", "uint"),
        6: ("server", "string"), 7: ("process_id", "uint"), 8: ("uptime_ms", "uint"), 9: ("attach_count", "uint"),
        10: ("writes_finished_at_start", "uint"), 11: ("connections", "uint"), 12: ("connections_accepted", "uint"),
        13: ("connections_refused", "uint"), 14: ("connections_broken", "uint"), 16: ("read", "OperationCount"),
        17: ("write", "OperationCount"), 18: ("fetch_add", "OperationCount"), 19: ("compare_and_swap", "OperationCount"),
        20: ("multi", "OperationCount"), 21: ("other", "OperationCount"), 24: ("jobs_handed_to_workers", "uint"),
        25: ("jobs_waiting", "uint"), 26: ("bytes_in", "uint"), 27: ("bytes_out", "uint"), 28: ("buffered_in", "uint"),
        29: ("buffered_out", "uint"), 30: ("oplog_lines", "uint"), 31: ("oplog_dropped", "uint"), 32: ("restore_state", "uint"),
        33: ("restore_id", "uint"), 34: ("restore_file", "uint"), 35: ("restore_round", "uint"), 40: ("transaction", "OperationCount"),
        41: ("sessions", "uint"), 42: ("sessions_max", "uint"), 43: ("prepared", "uint"), 44: ("in_doubt", "uint"),
        45: ("prepared_oldest_ms", "uint"), 46: ("transactions_committed", "uint"), 47: ("transactions_aborted_busy", "uint"),
        48: ("transactions_aborted_compare", "uint"), 49: ("transactions_aborted_frozen", "uint"), 50: ("transactions_aborted_other", "uint"),
        51: ("transactions_resolved", "uint"), 52: ("sessions_collected", "uint")},
    "OperationCount": COUNT,
    "WrongNode": {1: ("node", "uint"), 2: ("address", "string")},
    "RestoreBegin": {1: ("restore_id", "uint"), 2: ("file", "uint"), 3: ("round", "uint")},
    "RestoreBeginResult": {},
    "RestoreData": {1: ("restore_id", "uint"), 2: ("address", "uint"), 3: ("zeros", "uint"), 4: ("crc32c", "uint"), 5: ("data", "bytes")},
    "RestoreDataResult": {},
    "RestoreEnd": {1: ("restore_id", "uint"), 2: ("phase", "uint")},
    "RestoreEndResult": {},
    "OpenSession": {1: ("client", "bytes")},
    "OpenSessionResult": {1: ("session", "uint"), 2: ("generation", "fixed64"), 3: ("lanes", "uint")},
    "CloseSession": {1: ("session", "uint"), 2: ("generation", "fixed64")},
    "CloseSessionResult": {},
    "TransactionId": {1: ("session", "uint"), 2: ("lane", "uint"), 3: ("generation", "fixed64"), 4: ("sequence", "uint")},
    "Participant": {1: ("node", "uint"), 2: ("id", "TransactionId")},
    "Compare": {1: ("address", "uint"), 2: ("expected", "bytes")},
    "Items": {1: ("compares", "*Compare"), 2: ("reads", "*Read"), 3: ("writes", "*Write"), 4: ("adds", "*FetchAdd")},
    "Execute": {1: ("id", "TransactionId"), 2: ("items", "Items")},
    "Prepare": {1: ("id", "TransactionId"), 2: ("items", "Items"), 3: ("participants", "*Participant")},
    "Decide": {1: ("id", "TransactionId"), 2: ("commit", "bool"), 3: ("want_answer", "bool")},
    "Resolve": {1: ("id", "TransactionId"), 2: ("want_answer", "bool")},
    "TransactionResult": {1: ("outcome", "uint"), 2: ("reason", "uint"), 3: ("failed_compares", "*uint"), 4: ("found", "*bytes"),
                          5: ("answer", "bytes")},
    "ListTransactions": {},
    "PreparedTransaction": {1: ("id", "TransactionId"), 2: ("age_ms", "uint"), 3: ("nodes", "*uint")},
    "ListTransactionsResult": {1: ("transactions", "*PreparedTransaction"), 2: ("total", "uint")},
}
ZERO = {"uint": 0, "bool": False, "fixed32": 0, "fixed64": 0, "string": "", "bytes": b""}
WIRE_TYPE = {"uint": VARINT, "bool": VARINT, "fixed32": FIXED32, "fixed64": FIXED64}


class Malformed(Exception):
    """What came from the server is no protocol buffer message of ours."""


class Closed(Exception):
    """The server closed the connection; partial holds the bytes after the last whole frame."""

    def __init__(self, text, partial=b""):
        super().__init__(text)
        self.partial = partial


def varint(value):
    """The shortest varint of an unsigned 64-bit value."""
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def take_varint(data, at):
    """(value, position behind it); (None, at) when data ends inside it."""
    value = shift = 0
    for i in range(at, len(data)):
        value |= (data[i] & 0x7f) << shift
        if data[i] < 0x80:
            if value >> 64:
                raise Malformed("varint over 64 bits")
            return value, i + 1
        shift += 7
        if shift > 63:
            raise Malformed("varint longer than 10 bytes")
    return None, at


def frame(body):
    """A message with its length before it."""
    return varint(len(body)) + body


def encode(message, fields, schema=None):
    """Body of a message from a dictionary; zero values are left out, as proto3 does."""
    schema = schema or SCHEMA
    out = bytearray()
    numbers = {name: (number, kind) for number, (name, kind) in schema[message].items()}
    for name, given in fields.items():
        number, kind = numbers[name]
        for value in given if kind.startswith("*") else [given]:
            if kind in ("uint", "bool", "*uint"):
                if value or kind == "*uint":
                    out += varint(number << 3 | VARINT) + varint(int(value))
                continue
            if kind in ("string", "bytes", "fixed32", "fixed64") and not value:
                continue
            if kind in ("fixed32", "fixed64"):
                out += varint(number << 3 | WIRE_TYPE[kind]) + value.to_bytes(4 if kind == "fixed32" else 8, "little")
                continue
            base = kind.lstrip("*")
            data = value.encode() if base == "string" else value if base == "bytes" else encode(base, value, schema)
            out += varint(number << 3 | LENGTH) + varint(len(data)) + data
    return bytes(out)


def fields_of(data):
    """Every field of a body as (number, wire type, value), in order."""
    at = 0
    while at < len(data):
        tag, at = take_varint(data, at)
        if tag is None or tag >> 3 == 0:
            raise Malformed("bad tag")
        kind = tag & 7
        if kind == VARINT:
            value, at = take_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            value, at = int.from_bytes(data[at:at + size], "little"), at + size
        elif kind == LENGTH:
            size, at = take_varint(data, at)
            if size is None or size > len(data) - at:
                raise Malformed("field ends behind its message")
            value, at = bytes(data[at:at + size]), at + size
        else:
            raise Malformed(f"wire type {kind}")
        if value is None or at > len(data):
            raise Malformed("field ends behind its message")
        yield tag >> 3, kind, value


def packed(kind, data):
    """The numbers of a repeated field that stand in one piece, as proto3 writes them."""
    if kind != "uint":
        size = 4 if kind == "fixed32" else 8
        return [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]
    values, at = [], 0
    while at < len(data):
        value, at = take_varint(data, at)
        if value is None:
            raise Malformed("a number ends behind its field")
        values.append(value)
    return values


def decode(message, data, schema=None):
    """A body as a dictionary. Scalar fields that are absent are zero; messages that are absent are not in it."""
    schema = schema or SCHEMA
    out = {}
    for name, kind in schema[message].values():
        if kind.startswith("*"):
            out[name] = []
        elif kind in ZERO:
            out[name] = ZERO[kind]
    for number, wire_type, value in fields_of(data):
        if number not in schema[message]:
            raise Malformed(f"{message} has no field {number}")
        name, kind = schema[message][number]
        base = kind.lstrip("*")
        if kind.startswith("*") and base in WIRE_TYPE and wire_type == LENGTH:
            out[name] += packed(base, value)
            continue
        if wire_type != WIRE_TYPE.get(base, LENGTH):
            raise Malformed(f"{message}.{name} has wire type {wire_type}")
        if base == "bool":
            value = bool(value)
        elif base == "string":
            value = value.decode("utf-8")
        elif base not in ZERO:
            value = decode(base, value, schema)
        if kind.startswith("*"):
            out[name].append(value)
        else:
            out[name] = value
    return out


def request(op, number, timeout_ms=0, **fields):
    """One framed Request."""
    return frame(encode("Request", {"id": number, "timeout_ms": timeout_ms, op: fields}))


class Connection:
    """One connection. Every wait on it is bounded by timeout_s."""

    def __init__(self, port, hello=True, timeout_s=PATIENCE_S, receive_buffer=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.next_id = 1
        self.hello = None
        try:
            self.socket.connect(("127.0.0.1", port))
            if hello:
                answer = self.call("hello", protocol_version=1, client="test")
                if answer["status"] != "OK":
                    raise Malformed(f"hello was answered {answer}")
                self.hello = answer["hello"]
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Close with RST: what is under way is thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def raw(self, data):
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, op, number=None, timeout_ms=0, **fields):
        """Send one request and return its id."""
        if number is None:
            number, self.next_id = self.next_id, self.next_id + 1
        self.raw(request(op, number, timeout_ms, **fields))
        return number

    def receive(self):
        """The next response, with the status as a name. Raises Closed at the end of the stream, TimeoutError after timeout_s."""
        while True:
            size, at = take_varint(self.buffer, 0)
            if size is not None and len(self.buffer) - at >= size:
                answer = decode("Response", memoryview(bytes(self.buffer[at:at + size])))
                del self.buffer[:at + size]
                answer["status"] = STATUS_NAME[answer["status"]]
                return answer
            try:
                data = self.socket.recv(1 << 20)
            except (ConnectionResetError, BrokenPipeError) as error:
                raise Closed(str(error), bytes(self.buffer)) from error
            if not data:
                raise Closed("end of stream", bytes(self.buffer))
            self.buffer += data

    def call(self, op, timeout_ms=0, **fields):
        """Send one request and wait for its response, the only one under way."""
        number = self.send(op, timeout_ms=timeout_ms, **fields)
        answer = self.receive()
        if answer["id"] != number:
            raise Malformed(f"request {number} was answered with id {answer['id']}")
        return answer

    def until_closed(self):
        """All responses until the server closes the connection."""
        answers = []
        try:
            while True:
                answers.append(self.receive())
        except Closed:
            return answers
