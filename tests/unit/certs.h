/*
 * Certificates made at run time: a CA and leaves signed by it, as PEM files in a directory of their own.
 * Failures abort the test program, because nothing can be tested without them.
 */
#ifndef BACKCHANNEL_TESTS_CERTS_H
#define BACKCHANNEL_TESTS_CERTS_H

#define CERTS_PATH_SIZE 64

struct certs {
	char dir[CERTS_PATH_SIZE];
	char key[CERTS_PATH_SIZE];      /* private key of every leaf */
	char ca[CERTS_PATH_SIZE];       /* the CA that signed the leaves */
	char stranger[CERTS_PATH_SIZE]; /* a CA that signed nothing */
	char leaf[CERTS_PATH_SIZE];     /* for localhost, 127.0.0.1 and ::1 */
	char other[CERTS_PATH_SIZE];    /* for other.invalid only */
	char expired[CERTS_PATH_SIZE];  /* for localhost, ended an hour ago */
};

/* Fill certs with the paths of fresh files below /tmp. */
void certs_make(struct certs *certs);

/* Delete the files. */
void certs_remove(struct certs *certs);

#endif
