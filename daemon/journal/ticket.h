/* Where tickets are made (J1).  Only the journal includes this. */
#ifndef BACKCHANNEL_JOURNAL_TICKET_H
#define BACKCHANNEL_JOURNAL_TICKET_H

#include "daemon/journal/journal.h"

/* A new idempotency key: random UUID in lower case.  Source: RFC 9562 5.4 (version 4).  Any thread. */
void jrn_key_new(char key[JRN_KEY_SIZE]);

/* The ticket of an intent; for JRN_DURABLE the caller knows that it is on disk.  Any thread. */
struct jrn_ticket jrn_ticket_make(uint64_t intent, enum jrn_effect effect,
				  enum jrn_strength strength, const char key[JRN_KEY_SIZE]);

/* Whether this process made the ticket.  Any thread. */
bool jrn_ticket_is_ours(const struct jrn_ticket *ticket);

#endif
