#include "tests/unit/certs.h"

#include "daemon/base/bug.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOUR 3600L

/* What one certificate says. */
struct paper {
	const char *name;
	const char *alt; /* subjectAltName; NULL: this is a CA */
	long from;       /* seconds from now */
	long until;
};

static void name_file(char path[CERTS_PATH_SIZE], const struct certs *certs, const char *name)
{
	int len = snprintf(path, CERTS_PATH_SIZE, "%.40s/%s.pem", certs->dir, name);

	BC_BUG_ON(len < 0 || len >= CERTS_PATH_SIZE);
}

static void add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	BC_BUG_ON(extension == NULL || X509_add_ext(cert, extension, -1) != 1);
	X509_EXTENSION_free(extension);
}

static X509 *make_cert(const struct paper *paper, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *subject = X509_NAME_new();

	BC_BUG_ON(cert == NULL || subject == NULL);
	BC_BUG_ON(X509_set_version(cert, X509_VERSION_3) != 1);
	BC_BUG_ON(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++) != 1);
	BC_BUG_ON(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
					     (const unsigned char *)paper->name, -1, -1, 0) != 1);
	BC_BUG_ON(X509_set_subject_name(cert, subject) != 1);
	BC_BUG_ON(X509_set_issuer_name(cert, issuer == NULL ? subject
							    : X509_get_subject_name(issuer)) != 1);
	X509_NAME_free(subject);
	BC_BUG_ON(X509_gmtime_adj(X509_getm_notBefore(cert), paper->from) == NULL);
	BC_BUG_ON(X509_gmtime_adj(X509_getm_notAfter(cert), paper->until) == NULL);
	BC_BUG_ON(X509_set_pubkey(cert, key) != 1);
	if (paper->alt == NULL) {
		add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
	} else {
		add_extension(cert, NID_subject_alt_name, paper->alt);
	}
	BC_BUG_ON(X509_sign(cert, issuer_key, EVP_sha256()) == 0);
	return cert;
}

static void write_cert(const char *path, X509 *cert)
{
	FILE *file = fopen(path, "we");

	BC_BUG_ON(file == NULL || PEM_write_X509(file, cert) != 1);
	BC_BUG_ON(fclose(file) != 0);
}

static void write_key(const char *path, EVP_PKEY *key)
{
	FILE *file = fopen(path, "we");

	BC_BUG_ON(file == NULL || PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) != 1);
	BC_BUG_ON(fclose(file) != 0);
}

static void make_leaf(const char *path, const struct paper *paper, EVP_PKEY *key, X509 *ca,
		      EVP_PKEY *ca_key)
{
	X509 *cert = make_cert(paper, key, ca, ca_key);

	write_cert(path, cert);
	X509_free(cert);
}

static const struct paper ca_paper = {"test CA", NULL, -HOUR, 24 * HOUR};
static const struct paper stranger_paper = {"test stranger", NULL, -HOUR, 24 * HOUR};
static const struct paper leaf_paper = {"localhost", "DNS:localhost,IP:127.0.0.1,IP:::1", -HOUR,
					24 * HOUR};
static const struct paper other_paper = {"other.invalid", "DNS:other.invalid", -HOUR, 24 * HOUR};
static const struct paper expired_paper = {"localhost", "DNS:localhost,IP:127.0.0.1", -2 * HOUR,
					   -HOUR};

void certs_make(struct certs *certs)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256");
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *ca;

	BC_BUG_ON(ca_key == NULL || key == NULL);
	(void)snprintf(certs->dir, sizeof(certs->dir), "/tmp/bc-certs-XXXXXX");
	BC_BUG_ON(mkdtemp(certs->dir) == NULL);
	name_file(certs->key, certs, "key");
	name_file(certs->ca, certs, "ca");
	name_file(certs->stranger, certs, "stranger");
	name_file(certs->leaf, certs, "leaf");
	name_file(certs->other, certs, "other");
	name_file(certs->expired, certs, "expired");
	write_key(certs->key, key);
	ca = make_cert(&ca_paper, ca_key, NULL, ca_key);
	write_cert(certs->ca, ca);
	make_leaf(certs->stranger, &stranger_paper, key, NULL, key);
	make_leaf(certs->leaf, &leaf_paper, key, ca, ca_key);
	make_leaf(certs->other, &other_paper, key, ca, ca_key);
	make_leaf(certs->expired, &expired_paper, key, ca, ca_key);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

void certs_remove(struct certs *certs)
{
	const char *paths[] = {certs->key,  certs->ca,    certs->stranger,
			       certs->leaf, certs->other, certs->expired};

	for (size_t i = 0; i < BC_ARRAY_LEN(paths); i++) {
		(void)unlink(paths[i]);
	}
	(void)rmdir(certs->dir);
}
