#include "daemon/base/seal.h"

#include "daemon/base/digest.h"
#include "daemon/base/id.h"

#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#define NONCE_SIZE 12
#define TAG_SIZE   16

static_assert(NONCE_SIZE + TAG_SIZE == BC_SEAL_OVERHEAD, "a sealed text is nonce, text and tag");

struct bc_seal_key bc_seal_key_of(struct bc_span secret)
{
	static const char use[] = "backchannel journal arguments 1";
	struct bc_sha256 parts[2] = {bc_sha256(bc_span_str(use)), bc_sha256(secret)};
	char bytes[sizeof(parts)];
	struct bc_seal_key key;
	struct bc_sha256 sum;

	static_assert(sizeof(key.bytes) == sizeof(sum.bytes), "AES-256 takes a whole SHA-256");
	memcpy(bytes, parts, sizeof(bytes));
	sum = bc_sha256(bc_span(bytes, sizeof(bytes)));
	memcpy(key.bytes, sum.bytes, sizeof(key.bytes));
	explicit_bzero(parts, sizeof(parts));
	explicit_bzero(bytes, sizeof(bytes));
	return key;
}

static const unsigned char *bytes_of(struct bc_span span)
{
	return (const unsigned char *)(span.len == 0 ? "" : span.ptr);
}

static bool encrypt(EVP_CIPHER_CTX *ctx, const struct bc_seal_key *key, struct bc_span about,
		    struct bc_span text, unsigned char *out)
{
	unsigned char *body = out + NONCE_SIZE;
	int len = 0;

	bc_random(out, NONCE_SIZE);
	return EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, out) == 1 &&
	       EVP_EncryptUpdate(ctx, NULL, &len, bytes_of(about), (int)about.len) == 1 &&
	       EVP_EncryptUpdate(ctx, body, &len, bytes_of(text), (int)text.len) == 1 &&
	       EVP_EncryptFinal_ex(ctx, body + text.len, &len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, body + text.len) == 1;
}

static bool decrypt(EVP_CIPHER_CTX *ctx, const struct bc_seal_key *key, struct bc_span about,
		    struct bc_span sealed, unsigned char *out)
{
	const unsigned char *from = bytes_of(sealed);
	size_t text = sealed.len - BC_SEAL_OVERHEAD;
	unsigned char tag[TAG_SIZE];
	int len = 0;

	memcpy(tag, from + NONCE_SIZE + text, sizeof(tag));
	return EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, from) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &len, bytes_of(about), (int)about.len) == 1 &&
	       EVP_DecryptUpdate(ctx, out, &len, from + NONCE_SIZE, (int)text) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, out + text, &len) == 1;
}

enum bc_err bc_seal(const struct bc_seal_key *key, struct bc_span about, struct bc_span text,
		    struct bc_buf *out)
{
	EVP_CIPHER_CTX *ctx;
	enum bc_err err;
	char *room;

	BC_BUG_ON(text.len > INT_MAX - BC_SEAL_OVERHEAD || about.len > INT_MAX);
	err = bc_buf_room(out, text.len + BC_SEAL_OVERHEAD, &room);
	if (err != BC_OK) {
		return err;
	}
	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL) {
		return BC_E_NOMEM;
	}
	if (encrypt(ctx, key, about, text, (unsigned char *)room)) {
		bc_buf_grow(out, text.len + BC_SEAL_OVERHEAD);
	} else {
		err = BC_E_SYSTEM;
	}
	EVP_CIPHER_CTX_free(ctx);
	return err;
}

enum bc_err bc_seal_open(const struct bc_seal_key *key, struct bc_span about, struct bc_span sealed,
			 struct bc_buf *out)
{
	EVP_CIPHER_CTX *ctx;
	enum bc_err err;
	char *room;

	BC_BUG_ON(sealed.len > INT_MAX || about.len > INT_MAX);
	if (sealed.len < BC_SEAL_OVERHEAD) {
		return BC_E_INVALID;
	}
	err = bc_buf_room(out, sealed.len - BC_SEAL_OVERHEAD, &room);
	if (err != BC_OK) {
		return err;
	}
	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL) {
		return BC_E_NOMEM;
	}
	if (decrypt(ctx, key, about, sealed, (unsigned char *)room)) {
		bc_buf_grow(out, sealed.len - BC_SEAL_OVERHEAD);
	} else {
		/* What came out of a wrong key is nobody's business. */
		explicit_bzero(room, sealed.len - BC_SEAL_OVERHEAD);
		err = BC_E_INVALID;
	}
	EVP_CIPHER_CTX_free(ctx);
	return err;
}
