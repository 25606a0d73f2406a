/* MACs of a digest under many secrets by the processor's AES instructions: P(P(d1 ^ K) ^ d2 ^ K') ^ K'.
 *
 * Part of the optional compiled path only (docs/decisions/0003, 0009). The pure path does the same through OpenSSL;
 * fivefold/cluster/ciphers.py compares the two before it believes this one. Constant time: no table, no branch on data.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define AES __attribute__((target("aes,sse2")))

/* FIPS 197, section 5.2: eleven round keys from a key of 16 bytes, here zeros. */
static __m128i keys[11];

#define NEXT(i, rcon) \
    keys[i] = _mm_xor_si128(stretch(keys[i - 1]), \
                            _mm_shuffle_epi32(_mm_aeskeygenassist_si128(keys[i - 1], rcon), 0xff))

AES static inline __m128i stretch(__m128i key) {
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 4));
}

AES static void prepare(void) {
    keys[0] = _mm_setzero_si128();
    NEXT(1, 0x01); NEXT(2, 0x02); NEXT(3, 0x04); NEXT(4, 0x08); NEXT(5, 0x10);
    NEXT(6, 0x20); NEXT(7, 0x40); NEXT(8, 0x80); NEXT(9, 0x1b); NEXT(10, 0x36);
}

AES static inline __m128i permute(__m128i state) {
    state = _mm_xor_si128(state, keys[0]);
    for (int round = 1; round < 10; round++)
        state = _mm_aesenc_si128(state, keys[round]);
    return _mm_aesenclast_si128(state, keys[10]);
}

AES static void make(const unsigned char *first, const unsigned char *last, const unsigned char *digest,
                     unsigned char *out, Py_ssize_t size) {
    const __m128i d1 = _mm_loadu_si128((const __m128i *)digest), d2 = _mm_loadu_si128((const __m128i *)(digest + 16));
    for (Py_ssize_t at = 0; at < size; at += 16) {
        const __m128i before = _mm_loadu_si128((const __m128i *)(first + at));
        const __m128i after = _mm_loadu_si128((const __m128i *)(last + at));
        const __m128i once = permute(_mm_xor_si128(d1, before));
        const __m128i twice = permute(_mm_xor_si128(once, _mm_xor_si128(d2, after)));
        _mm_storeu_si128((__m128i *)(out + at), _mm_xor_si128(twice, after));
    }
}

static int is_supported(void) { return __builtin_cpu_supports("aes"); }
#else
static void prepare(void) {}
static void make(const unsigned char *first, const unsigned char *last, const unsigned char *digest,
                 unsigned char *out, Py_ssize_t size) {}
static int is_supported(void) { return 0; }
#endif

static const unsigned char *bytes_of(PyObject *value) { return (const unsigned char *)PyBytes_AS_STRING(value); }

static PyObject *macs(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]) || !PyBytes_Check(args[2]) ||
        PyBytes_GET_SIZE(args[0]) % 16 != 0 || PyBytes_GET_SIZE(args[1]) != PyBytes_GET_SIZE(args[0]) ||
        PyBytes_GET_SIZE(args[2]) != 32) {
        PyErr_SetString(PyExc_ValueError, "macs(first, last, digest): halves of secrets of 32 bytes, and 32 bytes");
        return NULL;
    }
    const Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (result != NULL)
        make(bytes_of(args[0]), bytes_of(args[1]), bytes_of(args[2]), (unsigned char *)bytes_of(result), size);
    return result;
}

static PyMethodDef methods[] = {
    {"macs", (PyCFunction)(void (*)(void))macs, METH_FASTCALL, "The MACs of a digest under secrets, given in halves."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    if (!is_supported()) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AES instructions");
        return NULL;
    }
    prepare();
    return PyModule_Create(&module);
}
