/* HMAC-SHA-256 and AES-256-GCM by the libcrypto (OpenSSL 1.1.1 or later, or what is like it) that the interpreter's own
 * hashlib has loaded, found at run time: nothing to link with, no second copy, and updates of the system's library count
 * here too. Where its functions cannot be found this says so, and the caller makes do with hashlib and cryptography.
 * Scratch contexts belong to one thread, so that this is right without the GIL. */

#include <stddef.h>
#include <stdlib.h>

typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_cipher_st EVP_CIPHER;

#define SHA256_BLOCK_BYTES 64
#define SHA256_BYTES 32
#define GCM_TAG_BYTES 16
#define GCM_GET_TAG 0x10 /* EVP_CTRL_AEAD_GET_TAG */
#define GCM_SET_TAG 0x11 /* EVP_CTRL_AEAD_SET_TAG */

typedef struct {
    EVP_MD_CTX *digest;
    EVP_CIPHER_CTX *encrypting, *decrypting;
} Scratch;

static EVP_MD_CTX *(*md_ctx_new)(void);
static void (*md_ctx_free)(EVP_MD_CTX *);
static int (*md_ctx_copy)(EVP_MD_CTX *, const EVP_MD_CTX *);
static int (*digest_init)(EVP_MD_CTX *, const EVP_MD *, void *);
static int (*digest_update)(EVP_MD_CTX *, const void *, size_t);
static int (*digest_final)(EVP_MD_CTX *, unsigned char *, unsigned int *);
static int (*constant_time_compare)(const void *, const void *, size_t);
static EVP_CIPHER_CTX *(*cipher_ctx_new)(void);
static void (*cipher_ctx_free)(EVP_CIPHER_CTX *);
static int (*encrypt_init)(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
static int (*encrypt_update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);
static int (*encrypt_final)(EVP_CIPHER_CTX *, unsigned char *, int *);
static int (*decrypt_init)(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
static int (*decrypt_update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);
static int (*decrypt_final)(EVP_CIPHER_CTX *, unsigned char *, int *);
static int (*cipher_ctrl)(EVP_CIPHER_CTX *, int, int, void *);
static const EVP_MD *sha256;
static const EVP_CIPHER *aes_256_gcm; /* NULL where only HMAC could be found */

#ifdef _WIN32
static int libcrypto_load(const char *loaded_by) { return 0; }
static Scratch *scratch(void) { return NULL; }
#else
#include <dlfcn.h>
#include <pthread.h>

static pthread_key_t scratch_key;

static void scratch_free(void *memory) {
    Scratch *own = memory;
    md_ctx_free(own->digest);
    if (own->encrypting != NULL) cipher_ctx_free(own->encrypting);
    if (own->decrypting != NULL) cipher_ctx_free(own->decrypting);
    free(own);
}

/* Return the scratch contexts of this thread, or NULL. */
static Scratch *scratch(void) {
    Scratch *own = pthread_getspecific(scratch_key);
    if (own != NULL) return own;
    own = calloc(1, sizeof *own);
    if (own == NULL) return NULL;
    own->digest = md_ctx_new();
    if (own->digest != NULL && pthread_setspecific(scratch_key, own) == 0) return own;
    md_ctx_free(own->digest); /* of NULL too */
    free(own);
    return NULL;
}

/* dlsym returns object pointers; POSIX lets them be stored so (dlsym, "application usage"). */
static int libcrypto_symbol(void *library, const char *name, void *function) {
    return (*(void **)function = dlsym(library, name)) != NULL;
}

static void libcrypto_load_gcm(void *library) {
    EVP_CIPHER *(*cipher_fetch)(void *, const char *, const char *);
    const EVP_CIPHER *(*cipher_gcm)(void);
    int found = libcrypto_symbol(library, "EVP_CIPHER_CTX_new", &cipher_ctx_new)
        && libcrypto_symbol(library, "EVP_CIPHER_CTX_free", &cipher_ctx_free)
        && libcrypto_symbol(library, "EVP_EncryptInit_ex", &encrypt_init)
        && libcrypto_symbol(library, "EVP_EncryptUpdate", &encrypt_update)
        && libcrypto_symbol(library, "EVP_EncryptFinal_ex", &encrypt_final)
        && libcrypto_symbol(library, "EVP_DecryptInit_ex", &decrypt_init)
        && libcrypto_symbol(library, "EVP_DecryptUpdate", &decrypt_update)
        && libcrypto_symbol(library, "EVP_DecryptFinal_ex", &decrypt_final)
        && libcrypto_symbol(library, "EVP_CIPHER_CTX_ctrl", &cipher_ctrl);
    if (!found) return;
    if (libcrypto_symbol(library, "EVP_CIPHER_fetch", &cipher_fetch)) /* looked up once, not at each use (OpenSSL 3) */
        aes_256_gcm = cipher_fetch(NULL, "AES-256-GCM", NULL);
    else if (libcrypto_symbol(library, "EVP_aes_256_gcm", &cipher_gcm))
        aes_256_gcm = cipher_gcm();
}

/* Find the functions in what the shared object at that path has loaded; return whether those of HMAC are there. */
static int libcrypto_load(const char *loaded_by) {
    EVP_MD *(*md_fetch)(void *, const char *, const char *);
    const EVP_MD *(*md_sha256)(void);
    void *library = dlopen(loaded_by, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL) return 0;
    if (libcrypto_symbol(library, "EVP_MD_fetch", &md_fetch))
        sha256 = md_fetch(NULL, "SHA256", NULL);
    else if (libcrypto_symbol(library, "EVP_sha256", &md_sha256))
        sha256 = md_sha256();
    if (sha256 == NULL
        || !libcrypto_symbol(library, "EVP_MD_CTX_new", &md_ctx_new)
        || !libcrypto_symbol(library, "EVP_MD_CTX_free", &md_ctx_free)
        || !libcrypto_symbol(library, "EVP_MD_CTX_copy_ex", &md_ctx_copy)
        || !libcrypto_symbol(library, "EVP_DigestInit_ex", &digest_init)
        || !libcrypto_symbol(library, "EVP_DigestUpdate", &digest_update)
        || !libcrypto_symbol(library, "EVP_DigestFinal_ex", &digest_final)
        || !libcrypto_symbol(library, "CRYPTO_memcmp", &constant_time_compare)
        || pthread_key_create(&scratch_key, scratch_free) != 0)
        return 0;
    libcrypto_load_gcm(library);
    return 1;
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

/* Compute the tag of a message; return whether it was done. */
static int hmac_sha256(const EVP_MD_CTX *inner, const EVP_MD_CTX *outer, const unsigned char *message, size_t size,
                       unsigned char *tag) {
    unsigned char digest[SHA256_BYTES];
    Scratch *own = scratch();
    return own != NULL
        && md_ctx_copy(own->digest, inner) && digest_update(own->digest, message, size)
        && digest_final(own->digest, digest, NULL)
        && md_ctx_copy(own->digest, outer) && digest_update(own->digest, digest, SHA256_BYTES)
        && digest_final(own->digest, tag, NULL);
}

static const unsigned char gcm_nonce[12]; /* constant: each key is used once */

/* Encrypt `size` bytes in place, and write the tag behind them; `start` is authenticated, too. Return whether it was done. */
static int gcm_encrypt(const unsigned char *key, const unsigned char *start, int start_size, unsigned char *text, int size) {
    int done;
    Scratch *own = scratch();
    if (own == NULL) return 0;
    if (own->encrypting == NULL) {
        own->encrypting = cipher_ctx_new();
        if (own->encrypting == NULL || !encrypt_init(own->encrypting, aes_256_gcm, NULL, NULL, NULL)) return 0;
    }
    return encrypt_init(own->encrypting, NULL, NULL, key, gcm_nonce)
        && encrypt_update(own->encrypting, NULL, &done, start, start_size)
        && (size == 0 || encrypt_update(own->encrypting, text, &done, text, size))
        && encrypt_final(own->encrypting, text + size, &done)
        && cipher_ctrl(own->encrypting, GCM_GET_TAG, GCM_TAG_BYTES, text + size);
}

/* Decrypt `size` bytes in place, with the tag behind them. Return 1, 0 if the tag does not fit, -1 if it was not done. */
static int gcm_decrypt(const unsigned char *key, const unsigned char *start, int start_size, unsigned char *text, int size) {
    int done;
    unsigned char last[GCM_TAG_BYTES]; /* nothing is written there */
    Scratch *own = scratch();
    if (own == NULL) return -1;
    if (own->decrypting == NULL) {
        own->decrypting = cipher_ctx_new();
        if (own->decrypting == NULL || !decrypt_init(own->decrypting, aes_256_gcm, NULL, NULL, NULL)) return -1;
    }
    if (!decrypt_init(own->decrypting, NULL, NULL, key, gcm_nonce)
        || !decrypt_update(own->decrypting, NULL, &done, start, start_size)
        || (size != 0 && !decrypt_update(own->decrypting, text, &done, text, size))
        || !cipher_ctrl(own->decrypting, GCM_SET_TAG, GCM_TAG_BYTES, text + size))
        return -1;
    return decrypt_final(own->decrypting, last, &done) > 0;
}
