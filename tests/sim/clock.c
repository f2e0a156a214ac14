/* Virtual time: what is to happen, in order; and daemon/loop's interface in its terms. */
#include "tests/sim/world.h"

#include "daemon/loop/loop.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/queue.h>

#define WALL_BEGIN ((bc_usec)1700000000 * SIM_SEC)

struct sim_event {
	LIST_ENTRY(sim_event) link;
	bc_usec at;
	uint64_t number; /* those of one moment happen in the order in which they were planned */
	sim_fn *fn;
	void *arg;
	bool owns; /* arg is freed if it never happens */
};

static LIST_HEAD(, sim_event) events = LIST_HEAD_INITIALIZER(events);
static uint64_t numbers;

/* ---- chance ---- */

unsigned sim_chance(unsigned n)
{
	sim.random ^= sim.random << 13;
	sim.random ^= sim.random >> 7;
	sim.random ^= sim.random << 17;
	return (unsigned)((sim.random >> 11) % n);
}

bc_usec sim_between(bc_usec low, bc_usec high)
{
	return low + (bc_usec)sim_chance((unsigned)(high - low + 1));
}

uint64_t sim_hash(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t x = a * 0x9e3779b97f4a7c15u ^ b * 0xc2b2ae3d27d4eb4fu ^ c * 0x165667b19e3779f9u;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 32;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 29);
}

/* ---- telling ---- */

void sim_tell(const char *format, ...)
{
	va_list args;

	(void)fprintf(sim.story, "%10.3f ", (double)sim.now / (double)SIM_SEC);
	va_start(args, format);
	(void)vfprintf(sim.story, format, args);
	va_end(args);
	(void)fputc('\n', sim.story);
}

void sim_fail(const char *format, ...)
{
	char text[sizeof(sim.complaint)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	TELL("WRONG: %s", text);
	if (!sim.broken) {
		(void)snprintf(sim.complaint, sizeof(sim.complaint), "%s", text);
	}
	sim.broken = true;
}

void sim_cut(const char *what)
{
	TELL("--- %s", what);
	sim.cut = true;
	if (sim.cut_count < BC_ARRAY_LEN(sim.cuts)) {
		sim.cuts[sim.cut_count++] = sim.now;
	}
}

/* ---- events ---- */

struct sim_event *sim_at(bc_usec delay, sim_fn *fn, void *arg)
{
	struct sim_event *event = malloc(sizeof(*event));

	BC_BUG_ON(event == NULL);
	*event = (struct sim_event){
		.at = sim.now + (delay < 0 ? 0 : delay), .number = ++numbers, .fn = fn, .arg = arg};
	LIST_INSERT_HEAD(&events, event, link);
	return event;
}

void sim_post(bc_usec delay, sim_fn *fn, void *arg)
{
	sim_at(delay, fn, arg)->owns = true;
}

void sim_forget(struct sim_event *event)
{
	LIST_REMOVE(event, link);
	free(event);
}

bool sim_step(void)
{
	struct sim_event *first = LIST_FIRST(&events);
	struct sim_event *event;
	sim_fn *fn;
	void *arg;

	if (first == NULL) {
		return false;
	}
	LIST_FOREACH(event, &events, link)
	{
		if (event->at < first->at ||
		    (event->at == first->at && event->number < first->number)) {
			first = event;
		}
	}
	sim.now = first->at;
	sim.steps++;
	fn = first->fn;
	arg = first->arg;
	sim_forget(first);
	fn(arg);
	return true;
}

void clock_reset(void)
{
	while (!LIST_EMPTY(&events)) {
		struct sim_event *event = LIST_FIRST(&events);

		if (event->owns) {
			free(event->arg);
		}
		sim_forget(event);
	}
	numbers = 0;
	sim.now = 1000 * SIM_SEC;
}

/* ---- daemon/loop ---- */

struct loop_timer {
	loop_timer_fn *fn;
	void *arg;
	struct sim_event *event; /* NULL: not running */
};

bc_usec loop_now(const struct loop *loop)
{
	(void)loop;
	return sim.now;
}

bc_usec loop_wall(const struct loop *loop)
{
	(void)loop;
	return WALL_BEGIN + sim.now;
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg)
{
	struct loop_timer *timer = malloc(sizeof(*timer));

	(void)loop;
	BC_BUG_ON(timer == NULL);
	*timer = (struct loop_timer){.fn = fn, .arg = arg};
	return timer;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
	if (timer != NULL) {
		loop_timer_stop(timer);
		free(timer);
	}
	return NULL;
}

static void fire(void *arg)
{
	struct loop_timer *timer = arg;

	timer->event = NULL;
	timer->fn(timer->arg);
}

void loop_timer_start(struct loop_timer *timer, bc_usec delay)
{
	loop_timer_stop(timer);
	timer->event = sim_at(delay, fire, timer);
}

void loop_timer_stop(struct loop_timer *timer)
{
	if (timer->event != NULL) {
		sim_forget(timer->event);
		timer->event = NULL;
	}
}

bool loop_timer_is_active(const struct loop_timer *timer)
{
	return timer->event != NULL;
}
