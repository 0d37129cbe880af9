/* Reads the head of the requests that a PoP gets all day, in one pass and without making objects of what nobody looks at.
 *
 *   scan(data, prefix) -> (key, body) | None
 *
 * `data` must be exactly one whole request: POST, a target that begins with `prefix`, HTTP/1.1, with a Content-Length.
 * The key is its request line with the values of X-Org-Id and If-None-Match: all of the head that an answer may depend on.
 * None is for everything else, right or wrong: the caller's own parser decides on that. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include <strings.h>

#define LARGEST_KEY 2048
#define LARGEST_BODY_DIGITS 7

/* RFC 9110, 5.6.2: the characters of a field's name. */
static int is_token(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int named(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && !strncasecmp(name, wanted, size);
}

/* What frames a message or ends a connection is for the caller's parser. */
static int is_special(const char *name, size_t size) {
    switch (name[0] | 0x20) {
    case 'c': return named(name, size, "connection");
    case 'e': return named(name, size, "expect");
    case 'k': return named(name, size, "keep-alive");
    case 'p': return named(name, size, "proxy-connection");
    case 't': return named(name, size, "transfer-encoding") || named(name, size, "te") || named(name, size, "trailer");
    case 'u': return named(name, size, "upgrade");
    default: return 0;
    }
}

static PyObject *scan(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "scan(data: bytes, prefix: bytes)");
        return NULL;
    }
    const char *data = PyBytes_AS_STRING(args[0]), *end = data + PyBytes_GET_SIZE(args[0]);
    const char *prefix = PyBytes_AS_STRING(args[1]);
    size_t prefix_size = (size_t)PyBytes_GET_SIZE(args[1]);
    char key[LARGEST_KEY];
    size_t used;

    if ((size_t)(end - data) < 5 + prefix_size + 13 || memcmp(data, "POST ", 5) || memcmp(data + 5, prefix, prefix_size))
        Py_RETURN_NONE;
    const char *at = data + 5 + prefix_size;
    while (at < end && *at > ' ' && *at < 0x7f) at++;
    if (end - at < 13 || memcmp(at, " HTTP/1.1\r\n", 11)) Py_RETURN_NONE;
    used = (size_t)(at - data);
    if (used > LARGEST_KEY / 2) Py_RETURN_NONE;
    memcpy(key, data, used);
    at += 11;

    long length = -1;
    int orgs = 0, tags = 0;
    while (at < end && *at != '\r') {
        const char *name = at;
        while (at < end && is_token((unsigned char)*at)) at++;
        size_t size = (size_t)(at - name);
        if (!size || at == end || *at != ':' || is_special(name, size)) Py_RETURN_NONE;
        at++;
        while (at < end && (*at == ' ' || *at == '\t')) at++;
        const char *value = at;
        while (at < end && ((unsigned char)*at >= ' ' || *at == '\t') && *at != 0x7f) at++;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n') Py_RETURN_NONE;
        const char *last = at;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t')) last--;
        at += 2;
        size_t given = (size_t)(last - value);
        int org = named(name, size, "x-org-id"), tag = named(name, size, "if-none-match");
        if (named(name, size, "content-length")) {
            if (length >= 0 || !given || given > LARGEST_BODY_DIGITS) Py_RETURN_NONE;
            length = 0;
            for (size_t i = 0; i < given; i++) {
                if (value[i] < '0' || value[i] > '9') Py_RETURN_NONE;
                length = length * 10 + (value[i] - '0');
            }
        } else if (org || tag) {
            if ((org ? orgs++ : tags++) || last != at - 2) Py_RETURN_NONE; /* the parser keeps spaces at the end */
            if (used + given + 2 > LARGEST_KEY) Py_RETURN_NONE;
            key[used++] = org ? '\n' : '\r';
            memcpy(key + used, value, given);
            used += given;
        }
    }
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n') Py_RETURN_NONE;
    at += 2;
    if (length != end - at) Py_RETURN_NONE;

    PyObject *made = PyTuple_New(2);
    PyObject *first = PyBytes_FromStringAndSize(key, (Py_ssize_t)used);
    PyObject *second = PyBytes_FromStringAndSize(at, length);
    if (!made || !first || !second) {
        Py_XDECREF(made);
        Py_XDECREF(first);
        Py_XDECREF(second);
        return NULL;
    }
    PyTuple_SET_ITEM(made, 0, first);
    PyTuple_SET_ITEM(made, 1, second);
    return made;
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, "scan(data, prefix) -> (key, body) | None"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_head", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__head(void) { return PyModule_Create(&module); }
