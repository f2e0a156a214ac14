#include "daemon/quota.h"

#include "daemon/base/bug.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uthash.h>

#define PORTIONS_PER_SECOND 100 /* what all sessions of a subject together hold unused */
#define BURST               BC_USEC_PER_SEC /* a rate may be used up to this much ahead */
#define JITTER              (100 * BC_USEC_PER_MS) /* a network delivers what was sent evenly this unevenly */
#define SUBJECT_MAX         80 /* bytes of "k:" and a key's name, or "a:" and an address, with NUL */

/* When the next unit would be due if all had come evenly; 0: none has come yet. */
struct rate {
	_Atomic bc_usec due;
};

struct quota_share {
	UT_hash_handle hh;
	char subject[SUBJECT_MAX];
	/* Written under the lock; a share without sessions whose rates have run out is dropped. */
	_Atomic unsigned sessions;
	bool is_key;
	struct rate begun;
	struct rate messages;
	struct rate bytes;
};

struct quota {
	pthread_mutex_t lock;
	struct quota_share *shares;
	bc_usec swept; /* when forgotten subjects were last looked for */
};

struct quota *quota_new(void)
{
	struct quota *quota = calloc(1, sizeof(*quota));

	if (quota != NULL && pthread_mutex_init(&quota->lock, NULL) != 0) {
		free(quota);
		return NULL;
	}
	return quota;
}

struct quota *quota_free(struct quota *quota)
{
	struct quota_share *share;
	struct quota_share *next;

	if (quota == NULL) {
		return NULL;
	}
	HASH_ITER(hh, quota->shares, share, next) {
		BC_BUG_ON(share->sessions > 0);
		HASH_DEL(quota->shares, share);
		free(share);
	}
	(void)pthread_mutex_destroy(&quota->lock); /* fails only when held */
	free(quota);
	return NULL;
}

static bc_usec rate_cost(uint64_t per_second, uint64_t count)
{
	return (bc_usec)((double)count * (double)BC_USEC_PER_SEC / (double)per_second);
}

/*
 * Take count units of a rate of per_second; false: that is more than BURST ahead of the clock.
 * Source: ITU-T I.371, generic cell rate algorithm.
 */
static bool rate_take(struct rate *rate, uint64_t per_second, uint64_t count, bc_usec now)
{
	bc_usec cost = rate_cost(per_second, count);
	bc_usec due = atomic_load_explicit(&rate->due, memory_order_relaxed);
	bc_usec next;

	do {
		next = (due > now ? due : now) + cost;
		/* What is as dear as the burst or dearer must pass when its time has come. */
		if (next - now > BURST && due - now > JITTER) {
			return false;
		}
	} while (!atomic_compare_exchange_weak(&rate->due, &due, next));
	return true;
}

static void rate_give_back(struct rate *rate, uint64_t per_second, int64_t count)
{
	if (per_second > 0 && count > 0) {
		(void)atomic_fetch_sub_explicit(&rate->due, rate_cost(per_second, (uint64_t)count),
						memory_order_relaxed);
	}
}

/* Subjects that have gone and whose rates have recovered: an attacker's addresses must not pile up. */
static void sweep(struct quota *quota, bc_usec now)
{
	struct quota_share *share;
	struct quota_share *next;

	if (now - quota->swept < BURST) {
		return;
	}
	quota->swept = now;
	HASH_ITER(hh, quota->shares, share, next) {
		if (share->sessions == 0 && atomic_load(&share->begun.due) <= now &&
		    atomic_load(&share->messages.due) <= now &&
		    atomic_load(&share->bytes.due) <= now) {
			HASH_DEL(quota->shares, share);
			free(share);
		}
	}
}

static struct quota_share *share_get(struct quota *quota, bool is_key, struct bc_span name)
{
	char subject[SUBJECT_MAX];
	struct quota_share *share;

	(void)snprintf(subject, sizeof(subject), "%c:%.*s", is_key ? 'k' : 'a', BC_SPAN_ARG(name));
	HASH_FIND_STR(quota->shares, subject, share);
	if (share != NULL) {
		return share;
	}
	share = calloc(1, sizeof(*share));
	if (share == NULL) {
		return NULL;
	}
	memcpy(share->subject, subject, sizeof(subject));
	share->is_key = is_key;
	HASH_ADD_STR(quota->shares, subject, share);
	return share;
}

static uint64_t begin_rate(const struct quota_share *share, const struct cfg_limits *limits)
{
	return share->is_key ? limits->key_sessions_per_second
			     : limits->address_sessions_per_second;
}

static enum quota_verdict admit(struct quota_share *share, const struct cfg_limits *limits,
				bc_usec now)
{
	uint64_t sessions = share->is_key ? limits->key_sessions_max : limits->address_sessions_max;
	uint64_t rate = begin_rate(share, limits);

	if (sessions > 0 && share->sessions >= sessions) {
		return QUOTA_SESSIONS;
	}
	if (rate > 0 && !rate_take(&share->begun, rate, 1, now)) {
		return QUOTA_RATE;
	}
	return QUOTA_OK;
}

static enum quota_verdict claim_locked(struct quota_claim *claim, const struct cfg_limits *limits,
				       const char *key, struct bc_span address, bc_usec now)
{
	struct quota_share *shares[2] = {NULL, share_get(claim->quota, false, address)};

	if (shares[1] == NULL) {
		return QUOTA_SESSIONS;
	}
	if (key != NULL) {
		shares[0] = share_get(claim->quota, true, bc_span_str(key));
		if (shares[0] == NULL) {
			return QUOTA_SESSIONS;
		}
	}
	for (int i = 0; i < 2; i++) {
		enum quota_verdict verdict =
			shares[i] == NULL ? QUOTA_OK : admit(shares[i], limits, now);

		if (verdict != QUOTA_OK) {
			if (i == 1 && shares[0] != NULL) {
				rate_give_back(&shares[0]->begun, begin_rate(shares[0], limits), 1);
			}
			return verdict;
		}
	}
	for (int i = 0; i < 2; i++) {
		if (shares[i] != NULL) {
			shares[i]->sessions++;
		}
		claim->shares[i] = shares[i];
	}
	return QUOTA_OK;
}

enum quota_verdict quota_claim(struct quota *quota, const struct cfg_limits *limits,
			       const char *key, struct bc_span address, bc_usec now,
			       struct quota_claim *ret)
{
	struct quota_claim claim = {.quota = quota};
	enum quota_verdict verdict;

	(void)pthread_mutex_lock(&quota->lock); /* fails only for a lock that is not one */
	sweep(quota, now);
	verdict = claim_locked(&claim, limits, key, address, now);
	(void)pthread_mutex_unlock(&quota->lock);
	if (verdict == QUOTA_OK) {
		*ret = claim;
	}
	return verdict;
}

bool quota_key_refused(struct quota *quota, const struct cfg_limits *limits, struct bc_span address,
		       bc_usec now)
{
	uint64_t rate = limits->address_sessions_per_second;
	struct quota_share *share;
	bool granted;

	if (rate == 0) {
		return true;
	}
	(void)pthread_mutex_lock(&quota->lock); /* fails only for a lock that is not one */
	sweep(quota, now);
	share = share_get(quota, false, address);
	granted = share != NULL && rate_take(&share->begun, rate, 1, now);
	(void)pthread_mutex_unlock(&quota->lock);
	return granted;
}

static uint64_t message_rate(const struct cfg_limits *limits, int who)
{
	return who == 0 ? limits->key_messages_per_second : limits->address_messages_per_second;
}

static uint64_t byte_rate(const struct cfg_limits *limits, int who)
{
	return who == 0 ? limits->key_bytes_per_second : limits->address_bytes_per_second;
}

void quota_release(struct quota_claim *claim, const struct cfg_limits *limits)
{
	if (claim->quota == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&claim->quota->lock);
	for (int i = 0; i < 2; i++) {
		if (claim->shares[i] != NULL) {
			rate_give_back(&claim->shares[i]->messages, message_rate(limits, i),
				       claim->messages[i]);
			rate_give_back(&claim->shares[i]->bytes, byte_rate(limits, i),
				       claim->bytes[i]);
			claim->shares[i]->sessions--;
		}
	}
	(void)pthread_mutex_unlock(&claim->quota->lock);
	*claim = (struct quota_claim){0};
}

/* Sessions share it, else those that drew first would leave nothing for the others. */
static uint64_t portion(uint64_t per_second, unsigned sessions, uint64_t at_least)
{
	uint64_t size = per_second / PORTIONS_PER_SECOND / (sessions > 0 ? sessions : 1);

	return size > at_least ? size : at_least;
}

/* Draw from the subject's rate when what was drawn before does not do; false: the rate is exceeded. */
static bool draw(struct rate *rate, uint64_t per_second, unsigned sessions, int64_t *credit,
		 uint64_t wanted, bc_usec now)
{
	uint64_t size;

	if (*credit >= (int64_t)wanted) {
		return true;
	}
	size = portion(per_second, sessions, wanted);
	if (!rate_take(rate, per_second, size, now)) {
		size = wanted;
		if (!rate_take(rate, per_second, size, now)) {
			return false;
		}
	}
	*credit += (int64_t)size;
	return true;
}

bool quota_charge(struct quota_claim *claim, const struct cfg_limits *limits, size_t bytes,
		  bc_usec now)
{
	for (int i = 0; i < 2; i++) {
		struct quota_share *share = claim->shares[i];
		uint64_t messages = message_rate(limits, i);
		uint64_t rate = byte_rate(limits, i);
		unsigned sessions;

		if (share == NULL) {
			continue;
		}
		sessions = atomic_load_explicit(&share->sessions, memory_order_relaxed);
		if (messages > 0) {
			if (!draw(&share->messages, messages, sessions, &claim->messages[i], 1,
				  now)) {
				return false;
			}
			claim->messages[i]--;
		}
		if (rate > 0) {
			if (!draw(&share->bytes, rate, sessions, &claim->bytes[i], bytes, now)) {
				return false;
			}
			claim->bytes[i] -= (int64_t)bytes;
		}
	}
	return true;
}
