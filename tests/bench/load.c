#include "tests/bench/load.h"

#include <string.h>
#include <time.h>

#define NS        1e9
#define BURST_MAX 64 /* messages sent in one go when we are late */
#define TURN_MS   10
/* Given to a proxy that has not served everybody in time. */
#define EXTRA_NS (30 * (uint64_t)1000000000)
#define DRAIN_NS (60 * (uint64_t)1000000000)

struct load {
	struct bench *bench;
	const struct load_conf *conf;
	struct load_result *result;
	bool sending;
	bool measuring;
	uint64_t begin; /* ns */
	uint64_t next;  /* number of the message that is sent next; rate > 0 only */
	uint64_t measured_from;
	double proxy_cpu;
	double bench_cpu;
};

double load_cpu(struct bench *bench, const pid_t *pids, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		struct timespec used;
		clockid_t clock;

		if (clock_getcpuclockid(pids[i], &clock) != 0 || clock_gettime(clock, &used) != 0) {
			bench_fail(bench, "process %d of the proxy has gone", (int)pids[i]);
			return 0;
		}
		sum += (double)used.tv_sec + (double)used.tv_nsec / NS;
	}
	return sum;
}

static double own_cpu(void)
{
	struct timespec used;

	BC_BUG_ON(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0);
	return (double)used.tv_sec + (double)used.tv_nsec / NS;
}

static bool send_one(struct load *load, struct end *end)
{
	if (!end_send(load->bench, end)) {
		load->result->skipped++;
		return false;
	}
	load->result->sent++;
	return true;
}

static void on_arrival(void *arg, struct end *end, uint64_t ns)
{
	struct load *load = arg;
	struct load_result *result = load->result;

	result->arrived++;
	if (load->measuring) {
		result->up += !end->is_client;
		result->down += end->is_client;
		histogram_add(&result->latency, ns);
	}
	if (load->sending && load->conf->rate <= 0) {
		(void)send_one(load, end->twin);
	}
}

/*
 * Whether a period that began a while ago is over.  At saturation every session must have had a turn in it, however slow
 * the proxy is: else the measurement would be of whoever happened to be served.
 */
static bool is_over(const struct load *load, uint64_t elapsed, double wanted, uint64_t messages)
{
	bool all_served = load->conf->rate > 0 || messages >= 2 * load->bench->wanted;

	return elapsed >= (uint64_t)(wanted * NS) &&
	       (all_served || elapsed >= (uint64_t)(wanted * NS) + EXTRA_NS);
}

/* Begin or end measuring when its time has come. */
static void keep_time(struct load *load, uint64_t now)
{
	const struct load_conf *conf = load->conf;
	struct load_result *result = load->result;

	if (!load->measuring && is_over(load, now - load->begin, conf->warm, result->arrived)) {
		load->measuring = true;
		load->measured_from = now;
		load->proxy_cpu = load_cpu(load->bench, conf->pids, conf->pid_count);
		load->bench_cpu = own_cpu();
	} else if (load->measuring && is_over(load, now - load->measured_from, conf->seconds,
					      result->up + result->down)) {
		load->measuring = false;
		load->sending = false;
		result->seconds = (double)(now - load->measured_from) / NS;
		result->proxy_cpu =
			load_cpu(load->bench, conf->pids, conf->pid_count) - load->proxy_cpu;
		result->bench_cpu = own_cpu() - load->bench_cpu;
	}
}

/* Send what is due: the sessions take turns, each up and then down. */
static void send_due(struct load *load, uint64_t now)
{
	struct bench *bench = load->bench;
	double period = NS / load->conf->rate;

	for (int i = 0; i < BURST_MAX; i++) {
		uint64_t due = load->begin + (uint64_t)((double)load->next * period);
		size_t session = load->next / 2 % bench->wanted;
		bool up = load->next % 2 == 0;

		if (due > now) {
			return;
		}
		load->next++;
		if (send_one(load, up ? &bench->clients[session] : &bench->servers[session]) &&
		    load->measuring) {
			histogram_add(&load->result->late, now - due);
		}
	}
}

static void send_first(struct load *load)
{
	struct bench *bench = load->bench;

	for (size_t i = 0; i < bench->wanted && !bench_failed(bench); i++) {
		(void)send_one(load, &bench->clients[i]);
		(void)send_one(load, &bench->servers[i]);
	}
}

static void drain(struct load *load)
{
	uint64_t deadline = bench_now() + DRAIN_NS;
	struct load_result *result = load->result;

	while (result->arrived < result->sent && !bench_failed(load->bench)) {
		(void)bench_turn(load->bench, TURN_MS);
		if (bench_now() > deadline) {
			bench_fail(load->bench, "%llu messages did not arrive",
				   (unsigned long long)(result->sent - result->arrived));
		}
	}
}

static void expect(struct bench *bench, size_t len)
{
	bench->expected = len;
	for (size_t i = 0; i < bench->wanted; i++) {
		bench->clients[i].check = true;
		bench->servers[i].check = true;
	}
}

void load_run(struct bench *bench, const struct load_conf *conf, struct load_result *result)
{
	struct load load = {.bench = bench, .conf = conf, .result = result, .sending = true};
	bool open_loop = conf->rate > 0;

	memset(result, 0, sizeof(*result));
	message_make(&bench->messages[UP], UP, conf->len);
	message_make(&bench->messages[DOWN], DOWN, conf->len);
	expect(bench, conf->len);
	bench->arrived = on_arrival;
	bench->arrived_arg = &load;
	load.begin = bench_now();
	if (!open_loop) {
		send_first(&load);
	}
	while (load.sending && !bench_failed(bench)) {
		uint64_t now = bench_now();

		if (open_loop) {
			send_due(&load, now);
		}
		(void)bench_turn(bench, open_loop ? 0 : TURN_MS);
		keep_time(&load, bench_now());
	}
	drain(&load);
	bench->expected = 0;
	message_release(&bench->messages[UP]);
	message_release(&bench->messages[DOWN]);
}
