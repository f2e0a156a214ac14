/*
 * A ticket carries a seal over all its fields under a secret of this process.  Code cannot forge one by accident: a
 * zeroed, changed or remembered ticket (from a file, from another process) does not permit anything.
 */
#include "daemon/journal/ticket.h"

#include "daemon/base/digest.h"
#include "daemon/base/id.h"

#include <pthread.h>

#define SECRET_SIZE 32

static uint8_t secret[SECRET_SIZE];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void secret_make(void)
{
	bc_random(secret, sizeof(secret));
}

void jrn_key_new(char key[JRN_KEY_SIZE])
{
	static const uint8_t groups[] = {4, 2, 2, 2, 6}; /* bytes between the dashes */
	uint8_t noise[16];
	const uint8_t *from = noise;
	char *to = key;

	bc_random(noise, sizeof(noise));
	noise[6] = (uint8_t)((noise[6] & 0x0f) | 0x40);
	noise[8] = (uint8_t)((noise[8] & 0x3f) | 0x80);
	for (unsigned i = 0; i < sizeof(groups); i++) {
		bc_hex(from, groups[i], to);
		from += groups[i];
		to += (size_t)groups[i] * 2;
		*to++ = '-';
	}
	/* The last dash gives way to the end. */
	to[-1] = '\0';
	BC_BUG_ON(to != key + JRN_KEY_SIZE);
}

static uint64_t seal(const struct jrn_ticket *ticket)
{
	/* Field by field: padding has no value. */
	struct {
		uint8_t secret[SECRET_SIZE];
		uint64_t numbers[3];
		char key[JRN_KEY_SIZE + 3]; /* up to the next multiple of eight: no padding */
	} sealed = {
		.numbers = {ticket->intent, (uint64_t)ticket->effect, (uint64_t)ticket->strength}};
	struct bc_sha256 sum;
	uint64_t value;

	(void)pthread_once(&secret_once, secret_make);
	memcpy(sealed.secret, secret, sizeof(secret));
	memcpy(sealed.key, ticket->key, sizeof(ticket->key));
	sum = bc_sha256(bc_span((const char *)&sealed, sizeof(sealed)));
	memcpy(&value, sum.bytes, sizeof(value));
	return value;
}

struct jrn_ticket jrn_ticket_make(uint64_t intent, enum jrn_effect effect,
				  enum jrn_strength strength, const char key[JRN_KEY_SIZE])
{
	struct jrn_ticket ticket = {.intent = intent, .effect = effect, .strength = strength};

	BC_BUG_ON(intent == 0);
	memcpy(ticket.key, key, sizeof(ticket.key));
	ticket.seal = seal(&ticket);
	return ticket;
}

bool jrn_ticket_is_ours(const struct jrn_ticket *ticket)
{
	return ticket->intent != 0 && ticket->seal == seal(ticket);
}

bool jrn_ticket_permits(const struct jrn_ticket *ticket, enum jrn_effect effect)
{
	if (ticket == NULL || ticket->effect != effect || !jrn_ticket_is_ours(ticket)) {
		return false;
	}
	switch (effect) {
	case JRN_READ:
		return true;
	case JRN_REVERSIBLE:
	case JRN_HOLD:
	case JRN_UNDO:
		return ticket->strength == JRN_DURABLE;
	}
	return false;
}
