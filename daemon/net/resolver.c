/*
 * The resolver's thread and the queue before it.
 *
 *              thread takes          answer posted
 *      QUEUED ------------> RUNNING --------------> POSTED --> fn called, freed
 *        |                     |                      |
 *        | cancel: freed       | cancel: the thread   | cancel: freed when the
 *                              v frees it             v loop gets to it
 *
 * V1 state changes only under lock; a look-up is in queue exactly while QUEUED.
 * V2 a cancelled look-up never touches its loop from the thread, so that the loop may be gone by then.
 * V3 fn, arg and the decision to call belong to the loop's thread.
 */
#include "daemon/net/resolver.h"

#include "daemon/base/bug.h"
#include "daemon/loop/loop.h"
#include "daemon/net/connect.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOOKUP_MAGIC 0x6c6f6f6bU
#define HOST_MAX     255 /* characters; Source: RFC 1035 2.3.4 */

enum lookup_state {
	LOOKUP_QUEUED,
	LOOKUP_RUNNING,
	LOOKUP_POSTED,
	LOOKUP_STUCK /* the answer could not be posted; waits for net_lookup_cancel() */
};

struct net_lookup {
	unsigned magic;
	enum lookup_state state;
	bool cancelled;
	struct net_resolver *resolver;
	struct loop *loop;
	net_lookup_fn *fn;
	void *arg;
	TAILQ_ENTRY(net_lookup) link;
	struct net_addresses addresses;
	uint16_t port;
	char host[HOST_MAX + 1];
};

TAILQ_HEAD(lookup_queue, net_lookup);

struct net_resolver {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct lookup_queue queue; /* oldest first */
	size_t queued;
	size_t running; /* look-ups RUNNING that nobody cancelled */
	bool busy;      /* the thread is inside getaddrinfo() */
	bool stop;      /* the owner has gone; whoever is last frees */
};

static void set_port(struct net_address *address, uint16_t port)
{
	if (address->addr.ss_family == AF_INET6) {
		((struct sockaddr_in6 *)(void *)&address->addr)->sin6_port = htons(port);
	} else {
		((struct sockaddr_in *)(void *)&address->addr)->sin_port = htons(port);
	}
}

/* Whether host is an address itself; fills addresses then. */
static bool read_literal(const char *host, struct net_addresses *addresses)
{
	struct net_address *first = &addresses->list[0];
	struct sockaddr_in *four = (void *)&first->addr;
	struct sockaddr_in6 *six = (void *)&first->addr;

	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		first->len = sizeof(*four);
	} else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		first->len = sizeof(*six);
	} else {
		return false;
	}
	addresses->err = BC_OK;
	addresses->count = 1;
	return true;
}

static enum bc_err err_of(int code)
{
	switch (code) {
	case 0:
		return BC_OK;
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return BC_E_NOTFOUND;
	case EAI_MEMORY:
		return BC_E_NOMEM;
	default:
		return BC_E_UPSTREAM;
	}
}

/* The blocking part; without the lock. */
static void ask(const char *host, struct net_addresses *ret)
{
	const struct addrinfo hints = {
		.ai_flags = AI_ADDRCONFIG, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int code = getaddrinfo(host, NULL, &hints, &found);

	*ret = (struct net_addresses){.err = err_of(code)};
	for (struct addrinfo *i = found; i != NULL && ret->count < NET_ADDRESSES_MAX;
	     i = i->ai_next) {
		struct net_address *address = &ret->list[ret->count];

		if (i->ai_family != AF_INET && i->ai_family != AF_INET6) {
			continue;
		}
		memcpy(&address->addr, i->ai_addr, i->ai_addrlen);
		address->len = i->ai_addrlen;
		ret->count++;
	}
	if (found != NULL) {
		freeaddrinfo(found);
	}
	if (ret->err == BC_OK && ret->count == 0) {
		code = EAI_NODATA;
		ret->err = BC_E_NOTFOUND;
	}
	ret->detail = code == 0 ? "" : gai_strerror(code);
}

/* On the loop. */
static void on_answer(void *arg)
{
	struct net_lookup *lookup = arg;

	BC_CHECK(lookup, LOOKUP_MAGIC);
	if (!lookup->cancelled) {
		for (size_t i = 0; i < lookup->addresses.count; i++) {
			set_port(&lookup->addresses.list[i], lookup->port);
		}
		lookup->fn(lookup->arg, &lookup->addresses);
	}
	lookup->magic = 0;
	free(lookup);
}

/* Under the lock, or before the thread knows the look-up. */
static enum bc_err post_answer(struct net_lookup *lookup)
{
	enum bc_err err;

	lookup->state = LOOKUP_POSTED;
	err = loop_post(lookup->loop, on_answer, lookup);
	if (err != BC_OK) {
		lookup->state = LOOKUP_STUCK;
	}
	return err;
}

/* A look-up that was RUNNING got its answer; under the lock. */
static void finish(struct net_resolver *resolver, struct net_lookup *lookup,
		   const struct net_addresses *addresses)
{
	if (lookup->cancelled) {
		lookup->magic = 0;
		free(lookup); /* V2 */
		return;
	}
	resolver->running--;
	lookup->addresses = *addresses;
	/* Out of memory: the owner's own deadline ends the wait. */
	(void)!post_answer(lookup);
}

/* Everybody else who waits for the same name gets the same answer; under the lock. */
static void finish_same(struct net_resolver *resolver, const char *host,
			const struct net_addresses *addresses)
{
	struct net_lookup *next;

	for (struct net_lookup *i = TAILQ_FIRST(&resolver->queue); i != NULL; i = next) {
		next = TAILQ_NEXT(i, link);
		if (strcmp(i->host, host) != 0) {
			continue;
		}
		TAILQ_REMOVE(&resolver->queue, i, link);
		resolver->queued--;
		i->addresses = *addresses;
		(void)!post_answer(i); /* as in finish() */
	}
}

/* Take the oldest, ask, hand out the answer; called and left with the lock held. */
static void serve_one(struct net_resolver *resolver)
{
	struct net_lookup *lookup = TAILQ_FIRST(&resolver->queue);
	struct net_addresses addresses;
	char host[HOST_MAX + 1];

	TAILQ_REMOVE(&resolver->queue, lookup, link);
	resolver->queued--;
	resolver->running++;
	lookup->state = LOOKUP_RUNNING;
	memcpy(host, lookup->host, sizeof(host));
	resolver->busy = true;
	pthread_mutex_unlock(&resolver->lock);
	ask(host, &addresses);
	pthread_mutex_lock(&resolver->lock);
	resolver->busy = false;
	finish(resolver, lookup, &addresses);
	finish_same(resolver, host, &addresses);
}

static void free_resolver(struct net_resolver *resolver)
{
	pthread_cond_destroy(&resolver->wake);
	pthread_mutex_destroy(&resolver->lock);
	free(resolver);
}

static void *run(void *arg)
{
	struct net_resolver *resolver = arg;
	bool was_busy = false;

	pthread_mutex_lock(&resolver->lock);
	while (!resolver->stop) {
		if (TAILQ_EMPTY(&resolver->queue)) {
			pthread_cond_wait(&resolver->wake, &resolver->lock);
			continue;
		}
		serve_one(resolver);
		was_busy = resolver->stop;
	}
	pthread_mutex_unlock(&resolver->lock);
	if (was_busy) {
		free_resolver(resolver); /* the owner did not wait for us */
	}
	return NULL;
}

/* Signals belong to the main thread. */
static int start_thread(struct net_resolver *resolver)
{
	sigset_t all;
	sigset_t before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&resolver->thread, NULL, run, resolver);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code == 0) {
		(void)pthread_setname_np(resolver->thread, "resolver");
	}
	return code;
}

struct net_resolver *net_resolver_new(void)
{
	struct net_resolver *resolver = calloc(1, sizeof(*resolver));

	if (resolver == NULL) {
		return NULL;
	}
	TAILQ_INIT(&resolver->queue);
	pthread_mutex_init(&resolver->lock, NULL);
	pthread_cond_init(&resolver->wake, NULL);
	if (start_thread(resolver) != 0) {
		free_resolver(resolver);
		return NULL;
	}
	return resolver;
}

struct net_resolver *net_resolver_free(struct net_resolver *resolver)
{
	pthread_t thread;
	bool busy;

	if (resolver == NULL) {
		return NULL;
	}
	thread = resolver->thread;
	pthread_mutex_lock(&resolver->lock);
	BC_BUG_ON(resolver->queued != 0 || resolver->running != 0);
	resolver->stop = true;
	busy = resolver->busy;
	pthread_cond_signal(&resolver->wake);
	pthread_mutex_unlock(&resolver->lock);
	if (busy) {
		/* A name server that does not answer must not hold up the shutdown. */
		pthread_detach(thread);
		return NULL;
	}
	pthread_join(thread, NULL);
	free_resolver(resolver);
	return NULL;
}

static enum bc_err enqueue(struct net_resolver *resolver, struct net_lookup *lookup)
{
	enum bc_err err = BC_E_LIMIT;

	pthread_mutex_lock(&resolver->lock);
	if (resolver->queued < NET_LOOKUPS_MAX) {
		lookup->state = LOOKUP_QUEUED;
		TAILQ_INSERT_TAIL(&resolver->queue, lookup, link);
		resolver->queued++;
		pthread_cond_signal(&resolver->wake);
		err = BC_OK;
	}
	pthread_mutex_unlock(&resolver->lock);
	return err;
}

enum bc_err net_lookup_start(struct net_resolver *resolver, struct loop *loop, const char *host,
			     uint16_t port, net_lookup_fn *fn, void *arg, struct net_lookup **ret)
{
	size_t len = strlen(host);
	struct net_lookup *lookup;
	enum bc_err err;

	if (len == 0 || len > HOST_MAX) {
		return BC_E_INVALID;
	}
	lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL) {
		return BC_E_NOMEM;
	}
	lookup->magic = LOOKUP_MAGIC;
	lookup->resolver = resolver;
	lookup->loop = loop;
	lookup->fn = fn;
	lookup->arg = arg;
	lookup->port = port;
	memcpy(lookup->host, host, len);
	err = read_literal(host, &lookup->addresses) ? post_answer(lookup)
						     : enqueue(resolver, lookup);
	if (err != BC_OK) {
		free(lookup);
		return err;
	}
	*ret = lookup;
	return BC_OK;
}

struct net_lookup *net_lookup_cancel(struct net_lookup *lookup)
{
	struct net_resolver *resolver;
	bool gone = false;

	if (lookup == NULL) {
		return NULL;
	}
	BC_CHECK(lookup, LOOKUP_MAGIC);
	resolver = lookup->resolver;
	pthread_mutex_lock(&resolver->lock);
	lookup->cancelled = true;
	switch (lookup->state) {
	case LOOKUP_QUEUED:
		TAILQ_REMOVE(&resolver->queue, lookup, link);
		resolver->queued--;
		gone = true;
		break;
	case LOOKUP_RUNNING:
		resolver->running--;
		break;
	case LOOKUP_POSTED:
		break;
	case LOOKUP_STUCK:
		gone = true;
		break;
	}
	pthread_mutex_unlock(&resolver->lock);
	if (gone) {
		lookup->magic = 0;
		free(lookup);
	}
	return NULL;
}
