/* HMAC-SHA-256 by the libcrypto (OpenSSL 1.1.1 or later, or what is like it) that the interpreter's own hashlib has
 * loaded, found at run time: nothing to link with, no second copy, and updates of the system's library count here too.
 * Where its functions cannot be found this says so, and the caller makes do with hashlib. */

#include <stddef.h>

typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;

#define SHA256_BLOCK_BYTES 64
#define SHA256_BYTES 32

static EVP_MD_CTX *(*md_ctx_new)(void);
static void (*md_ctx_free)(EVP_MD_CTX *);
static int (*md_ctx_copy)(EVP_MD_CTX *, const EVP_MD_CTX *);
static int (*digest_init)(EVP_MD_CTX *, const EVP_MD *, void *);
static int (*digest_update)(EVP_MD_CTX *, const void *, size_t);
static int (*digest_final)(EVP_MD_CTX *, unsigned char *, unsigned int *);
static int (*constant_time_compare)(const void *, const void *, size_t);
static const EVP_MD *sha256;

#ifdef _WIN32
static int libcrypto_load(const char *loaded_by) { return 0; }
#else
#include <dlfcn.h>

/* dlsym returns object pointers; POSIX lets them be stored so (dlsym, "application usage"). */
static int libcrypto_symbol(void *library, const char *name, void *function) {
    return (*(void **)function = dlsym(library, name)) != NULL;
}

/* Find the functions in what the shared object at that path has loaded; return whether all of them are there. */
static int libcrypto_load(const char *loaded_by) {
    EVP_MD *(*md_fetch)(void *, const char *, const char *);
    const EVP_MD *(*md_sha256)(void);
    void *library = dlopen(loaded_by, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL) return 0;
    if (libcrypto_symbol(library, "EVP_MD_fetch", &md_fetch)) /* looked up once, not at each use (OpenSSL 3) */
        sha256 = md_fetch(NULL, "SHA256", NULL);
    else if (libcrypto_symbol(library, "EVP_sha256", &md_sha256))
        sha256 = md_sha256();
    return sha256 != NULL
        && libcrypto_symbol(library, "EVP_MD_CTX_new", &md_ctx_new)
        && libcrypto_symbol(library, "EVP_MD_CTX_free", &md_ctx_free)
        && libcrypto_symbol(library, "EVP_MD_CTX_copy_ex", &md_ctx_copy)
        && libcrypto_symbol(library, "EVP_DigestInit_ex", &digest_init)
        && libcrypto_symbol(library, "EVP_DigestUpdate", &digest_update)
        && libcrypto_symbol(library, "EVP_DigestFinal_ex", &digest_final)
        && libcrypto_symbol(library, "CRYPTO_memcmp", &constant_time_compare);
}
#endif

/* Return a context that has taken in one padded block of a key (RFC 2104), or NULL. */
static EVP_MD_CTX *hmac_prepare(const unsigned char *block) {
    EVP_MD_CTX *context = md_ctx_new();
    if (context != NULL && digest_init(context, sha256, NULL) && digest_update(context, block, SHA256_BLOCK_BYTES))
        return context;
    md_ctx_free(context); /* of NULL too */
    return NULL;
}

/* Compute the tag of a message, in a context of the caller's; return whether it was done. */
static int hmac_sha256(EVP_MD_CTX *scratch, const EVP_MD_CTX *inner, const EVP_MD_CTX *outer,
                       const unsigned char *message, size_t size, unsigned char *tag) {
    unsigned char digest[SHA256_BYTES];
    return md_ctx_copy(scratch, inner) && digest_update(scratch, message, size) && digest_final(scratch, digest, NULL)
        && md_ctx_copy(scratch, outer) && digest_update(scratch, digest, SHA256_BYTES)
        && digest_final(scratch, tag, NULL);
}
