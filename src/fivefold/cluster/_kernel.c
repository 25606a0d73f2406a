/* The MACs of an authenticator by the processor's AES instructions: AES-256_key(block) XOR block, block by block.
 *
 * Part of the optional compiled path only (docs/decisions/0003, 0007). The pure path does the same through OpenSSL;
 * fivefold/cluster/ciphers.py compares the two before it believes this one. Constant time: no table, no branch on data.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define AES __attribute__((target("aes,sse2")))

AES static inline __m128i stretch(__m128i key) {
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 4));
}

/* FIPS 197, section 5.2: fifteen round keys from a key of 32 bytes. */
#define EVEN(i, rcon) \
    keys[i] = _mm_xor_si128(stretch(keys[i - 2]), \
                            _mm_shuffle_epi32(_mm_aeskeygenassist_si128(keys[i - 1], rcon), 0xff))
#define ODD(i) \
    keys[i] = _mm_xor_si128(stretch(keys[i - 2]), \
                            _mm_shuffle_epi32(_mm_aeskeygenassist_si128(keys[i - 1], 0), 0xaa))

AES static void schedule(const unsigned char *key, __m128i keys[15]) {
    keys[0] = _mm_loadu_si128((const __m128i *)key);
    keys[1] = _mm_loadu_si128((const __m128i *)(key + 16));
    EVEN(2, 0x01); ODD(3);
    EVEN(4, 0x02); ODD(5);
    EVEN(6, 0x04); ODD(7);
    EVEN(8, 0x08); ODD(9);
    EVEN(10, 0x10); ODD(11);
    EVEN(12, 0x20); ODD(13);
    EVEN(14, 0x40);
}

AES static void compress_blocks(const unsigned char *key, const unsigned char *in, unsigned char *out, Py_ssize_t size) {
    __m128i keys[15];
    schedule(key, keys);
    for (Py_ssize_t at = 0; at < size; at += 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(in + at));
        __m128i state = _mm_xor_si128(block, keys[0]);
        for (int round = 1; round < 14; round++)
            state = _mm_aesenc_si128(state, keys[round]);
        state = _mm_aesenclast_si128(state, keys[14]);
        _mm_storeu_si128((__m128i *)(out + at), _mm_xor_si128(state, block));
    }
}

static int is_supported(void) { return __builtin_cpu_supports("aes"); }
#else
static void compress_blocks(const unsigned char *k, const unsigned char *in, unsigned char *out, Py_ssize_t size) {}
static int is_supported(void) { return 0; }
#endif

static PyObject *compress(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]) || PyBytes_GET_SIZE(args[0]) != 32 ||
        PyBytes_GET_SIZE(args[1]) % 16 != 0) {
        PyErr_SetString(PyExc_ValueError, "compress(key, blocks): 32 bytes and whole blocks of 16 bytes");
        return NULL;
    }
    const Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (result != NULL)
        compress_blocks((const unsigned char *)PyBytes_AS_STRING(args[0]),
                        (const unsigned char *)PyBytes_AS_STRING(args[1]),
                        (unsigned char *)PyBytes_AS_STRING(result), size);
    return result;
}

static PyMethodDef methods[] = {
    {"compress", (PyCFunction)(void (*)(void))compress, METH_FASTCALL, "AES-256_key(block) XOR block, block by block."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    if (!is_supported()) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AES instructions");
        return NULL;
    }
    return PyModule_Create(&module);
}
