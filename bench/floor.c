/* The least that a signed cookie can cost: what the core is held against.
 *
 * Read: a cookie's text -> base64url decode by table -> HMAC-SHA-256 over pad states prepared once -> comparison in
 * constant time -> the payload copied out. Write: the way back. No Python object, no check of anything but the tag.
 *
 * Declared by hand, as OpenSSL's headers may be missing: SHA256_CTX has had this layout since OpenSSL 0.9.8.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct {
    uint32_t h[8], low, high, data[16];
    unsigned int used, digest_bytes;
} SHA256_CTX;

int SHA256_Init(SHA256_CTX *);
int SHA256_Update(SHA256_CTX *, const void *, size_t);
int SHA256_Final(unsigned char *, SHA256_CTX *);

enum { HEADER = 32, TAG = 32, BLOCK = 64, MAX_TOKEN = 65536, MAX_TEXT = MAX_TOKEN / 3 * 4 + 4 };

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static uint8_t values[256];
static SHA256_CTX inner, outer; /* after their pad block */

static uint8_t token[MAX_TOKEN], payload[MAX_TOKEN];
static char text[MAX_TEXT];
static volatile uint8_t sink; /* keeps the compiler from leaving the work out */

static void pad_state(SHA256_CTX *state, const uint8_t key[32], uint8_t pad)
{
    uint8_t block[BLOCK];
    memset(block, pad, BLOCK);
    for (int i = 0; i < 32; i++)
        block[i] ^= key[i];
    SHA256_Init(state);
    SHA256_Update(state, block, BLOCK);
}

void floor_prepare(const uint8_t key[32])
{
    memset(values, 0x80, sizeof values);
    for (int i = 0; i < 64; i++)
        values[(uint8_t) digits[i]] = i;
    pad_state(&inner, key, 0x36);
    pad_state(&outer, key, 0x5c);
}

static void mac(const uint8_t *message, size_t size, uint8_t tag[TAG])
{
    SHA256_CTX state = inner;
    SHA256_Update(&state, message, size);
    SHA256_Final(tag, &state);
    state = outer;
    SHA256_Update(&state, tag, TAG);
    SHA256_Final(tag, &state);
}

/* Returns the size of the token, or 0 if there is a character that is no digit. */
static size_t decode(const char *from, size_t chars, uint8_t *to)
{
    const uint8_t *at = (const uint8_t *) from;
    uint8_t *start = to, seen = 0;
    for (; chars >= 4; chars -= 4, at += 4, to += 3) {
        uint8_t a = values[at[0]], b = values[at[1]], c = values[at[2]], d = values[at[3]];
        seen |= a | b | c | d;
        to[0] = a << 2 | b >> 4;
        to[1] = b << 4 | c >> 2;
        to[2] = c << 6 | d;
    }
    if (chars >= 2) {
        uint8_t a = values[at[0]], b = values[at[1]], c = chars == 3 ? values[at[2]] : 0;
        seen |= a | b | c;
        *to++ = a << 2 | b >> 4;
        if (chars == 3)
            *to++ = b << 4 | c >> 2;
    }
    return seen & 0x80 ? 0 : to - start;
}

static size_t encode(const uint8_t *from, size_t size, char *to)
{
    char *start = to;
    for (; size >= 3; size -= 3, from += 3, to += 4) {
        uint32_t group = (uint32_t) from[0] << 16 | from[1] << 8 | from[2];
        to[0] = digits[group >> 18];
        to[1] = digits[group >> 12 & 63];
        to[2] = digits[group >> 6 & 63];
        to[3] = digits[group & 63];
    }
    if (size) {
        uint32_t group = (uint32_t) from[0] << 16 | (size == 2 ? from[1] << 8 : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        if (size == 2)
            *to++ = digits[group >> 6 & 63];
    }
    return to - start;
}

static size_t read_token(const char *from, size_t chars)
{
    uint8_t tag[TAG], differs = 0;
    size_t size = decode(from, chars, token);
    if (size < HEADER + TAG)
        return 0;
    mac(token, size - TAG, tag);
    for (int i = 0; i < TAG; i++)
        differs |= tag[i] ^ token[size - TAG + i];
    if (differs)
        return 0;
    memcpy(payload, token + HEADER, size - HEADER - TAG);
    sink = payload[0];
    return size - HEADER - TAG;
}

static size_t write_token(const uint8_t *message, size_t size)
{
    memcpy(token, message, size);
    mac(token, size, token + size);
    size_t chars = encode(token, size + TAG, text);
    sink = text[chars - 1];
    return chars;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

/* Return the seconds that so many calls take, or -1 if the token is not believed. */
double floor_read(const char *from, size_t chars, long calls)
{
    double start = seconds();
    for (long i = 0; i < calls; i++)
        if (!read_token(from, chars))
            return -1;
    return seconds() - start;
}

double floor_write(const uint8_t *message, size_t size, long calls)
{
    double start = seconds();
    for (long i = 0; i < calls; i++)
        write_token(message, size);
    return seconds() - start;
}

/* What the last write has written, for the check that it is what the core writes. */
const char *floor_text(void)
{
    return text;
}
