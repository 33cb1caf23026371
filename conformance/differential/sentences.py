"""The sentences of the standards that decide the rulings, word for word; [...] is what is left out."""

ESTABLISHED = (
    "If _The WebSocket Connection is Established_ prior to the point where the endpoint is required"
    " to _Fail the WebSocket Connection_, the endpoint SHOULD send a Close frame with an"
    " appropriate status code"
)
MINIMAL = "in all cases, the minimal number of bytes MUST be used to encode the length"
TOP_BIT = "the most significant bit MUST be 0"
INJECTED = "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented message."
CONTROL_SIZE = (
    "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
)
LIMITS = (
    "Implementations that have implementation- and/or platform-specific limitations regarding the"
    " frame size or total message size after reassembly from multiple frames MUST protect"
    " themselves against exceeding those limits."
)
NOT_UTF8 = (
    "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not,"
    " in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
)
CLOSE_SENT = (
    "However, there is no guarantee that the endpoint that has already sent a Close frame will"
    " continue to process data."
)
PONG = (
    "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it"
    " already received a Close frame."
)
INCONSISTENT = "it has received data within a message that was not consistent with the type of the message"
BFINAL = (
    'When any DEFLATE block with the "BFINAL" bit set to 1 doesn\'t end at a byte boundary, an'
    " endpoint MUST add minimal padding bits of 0 to make it end at a byte boundary. The next"
    " DEFLATE block follows the padded data if any."
)
LAST_OCTET = (
    "After this step, the last octet of the compressed data contains (possibly part of) the DEFLATE"
    ' header bits with the "BTYPE" bits set to 00.'
)
HOST = (
    "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message"
    " that lacks a Host header field and to any request message that contains more than one Host"
    " header field line or a Host header field with an invalid field value."
)
USERINFO = (
    'Before making use of an "http" or "https" URI reference received from an untrusted source, a recipient'
    " SHOULD parse for userinfo and treat its presence as an error"
)
ABSOLUTE = (
    "When an origin server receives a request with an absolute-form of request-target, the origin server MUST"
    " ignore the received Host header field (if any) and instead use the host information of the"
    " request-target."
)
METHODS = "All general-purpose servers MUST support the methods GET and HEAD. All other methods are OPTIONAL."
INVALID_LINE = (
    "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or"
    " a 301 (Moved Permanently) redirect"
)
VERSION = (
    "The 505 (HTTP Version Not Supported) status code indicates that the server does not support,"
    " or refuses to support, the major version of HTTP that was used in the request message."
)
BODY = (
    "The presence of a message body in a request is signaled by a Content-Length or"
    " Transfer-Encoding header field."
)
TOO_LARGE = (
    "A server that receives a request header field line, field value, or set of fields larger than"
    " it wishes to process MUST respond with an appropriate 4xx (Client Error) status code."
)
EMPTY_LINE = (
    "a server that is expecting to receive and parse a request-line SHOULD ignore at least one"
    " empty line (CRLF) received prior to the request-line"
)
SPACES = (
    "recipients MAY instead parse on whitespace-delimited word boundaries and, aside from the CRLF"
    " terminator, treat any form of whitespace as the SP separator"
)
BLANKS = (
    "OWS occurring before the first non-whitespace octet of the field line value, or after the last"
    " non-whitespace octet of the field line value, is excluded by parsers"
)
CONTROL_BYTES = (
    "Field values containing other CTL characters are also invalid; however, recipients MAY retain"
    " such characters for the sake of robustness when they appear within a safe context"
)
BARE_LF = (
    "Although the line terminator for the start-line and fields is the sequence CRLF, a recipient"
    " MAY recognize a single LF as a line terminator and ignore any preceding CR."
)
FOLDS = (
    "A server that receives an obs-fold in a request message [...] MUST either reject the message"
    " by sending a 400 (Bad Request) [...] or replace each received obs-fold with one or more SP"
    " octets"
)
