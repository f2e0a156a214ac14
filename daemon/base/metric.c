#include "daemon/base/metric.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One per thread, never freed: counts of an ended thread still count. */
struct shard {
	struct shard *next;
	_Atomic int64_t values[BC_METRIC__COUNT];
};

enum kind {
	COUNTER,
	GAUGE
};

static const struct {
	const char *name;
	enum kind kind;
	const char *help;
} rows[] = {
#define METRIC(id, name, kind, help) {name, kind, help},
#include "daemon/base/metric.def"
};

static_assert(BC_ARRAY_LEN(rows) == BC_METRIC__COUNT, "a metric has no row");

static struct shard *_Atomic shards;
static _Thread_local struct shard *own;

static struct shard *shard_get(void)
{
	struct shard *head;

	if (own != NULL) {
		return own;
	}
	own = calloc(1, sizeof(*own));
	BC_BUG_ON(own == NULL);
	head = atomic_load(&shards);
	do {
		own->next = head;
	} while (!atomic_compare_exchange_weak(&shards, &head, own));
	return own;
}

void bc_metric_add(enum bc_metric metric, int64_t n)
{
	_Atomic int64_t *value = &shard_get()->values[metric];

	/* The only writer is this thread: no read-modify-write on the bus is needed. */
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

int64_t bc_metric_get(enum bc_metric metric)
{
	int64_t sum = 0;

	for (struct shard *s = atomic_load(&shards); s != NULL; s = s->next) {
		sum += atomic_load_explicit(&s->values[metric], memory_order_relaxed);
	}
	return sum;
}

enum bc_err bc_metric_print(struct bc_buf *out)
{
	for (unsigned i = 0; i < BC_METRIC__COUNT; i++) {
		enum bc_err err = bc_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n",
						rows[i].name, rows[i].help, rows[i].name,
						rows[i].kind == COUNTER ? "counter" : "gauge",
						rows[i].name, bc_metric_get((enum bc_metric)i));

		if (err != BC_OK) {
			return err;
		}
	}
	return BC_OK;
}
