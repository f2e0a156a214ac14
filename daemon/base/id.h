/* Random identifiers and keys. */
#ifndef BACKCHANNEL_BASE_ID_H
#define BACKCHANNEL_BASE_ID_H

#include "daemon/base/span.h"

#include <stddef.h>
#include <stdint.h>

/* "bc_", one letter, then 20 base-32 characters (100 bits), NUL: within the 32 characters providers accept. */
#define BC_ID_SIZE 25

/* Fill len bytes from the kernel's generator.  Cannot fail: without randomness the process aborts. */
void bc_random(void *bytes, size_t len);

/*
 * A new id "bc_" + kind + 20 random characters of [a-z2-7], for whatever the gateway adds to a
 * conversation (items, call ids, event ids, responses).  kind is a letter that tells a reader what it names.
 * Source: shared item id rules, [A-Za-z0-9_-] and at most 32 characters.
 */
void bc_id_new(char id[BC_ID_SIZE], char kind);

/* Whether an id was made by bc_id_new(). */
int bc_id_is_ours(struct bc_span id);

/* Lower-case hexadecimal of len bytes and a NUL into out[2 * len + 1]. */
void bc_hex(const void *bytes, size_t len, char *out);

#endif
