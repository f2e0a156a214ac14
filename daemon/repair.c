#include "daemon/repair.h"

#include "daemon/base/log.h"
#include "daemon/journal/inspect.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An order on its way to the worker that looks after orphans, and back; on one thread at a time. */
struct repair {
	struct server *server;
	struct loop *main;
	struct adm_request *request;
	uint64_t intent;
	bool resolve;
	enum jrn_settlement how;
	enum bc_err err;
};

static void answer(struct adm_request *request, const char *text)
{
	adm_answer(request, bc_span_str(text));
}

/* ---- looking ---- */

/* session empty: the list. */
static void look(const struct cfg *cfg, struct adm_request *request, struct bc_span session)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	const struct jrn_inspect_output output = {out, out};

	if (out == NULL) {
		answer(request, "error: out of memory\n");
		return;
	}
	if (session.len == 0) {
		(void)jrn_inspect_list(cfg->journal.path, true, output);
	} else {
		(void)jrn_inspect_show(cfg->journal.path, session, output);
	}
	if (fclose(out) != 0) {
		answer(request, "error: out of memory\n");
	} else {
		adm_answer(request, bc_span(text, len));
	}
	free(text);
}

/* ---- acting ---- */

static void report(void *arg)
{
	struct repair *repair = arg;

	if (repair->err == BC_OK) {
		answer(repair->request,
		       repair->resolve ? "resolved\n"
				       : "taken up again; journal list tells how it goes\n");
	} else if (repair->err == BC_E_NOTFOUND) {
		answer(repair->request,
		       "error: no intent with that number is in doubt or parked\n");
	} else if (repair->err == BC_E_JOURNAL) {
		answer(repair->request, "error: the journal has failed; restart the gateway\n");
	} else {
		answer(repair->request, "error: not possible now, try again\n");
	}
	free(repair);
}

/* On the worker's thread. */
static void done(void *arg, enum bc_err err)
{
	struct repair *repair = arg;

	repair->err = err;
	if (loop_post(repair->main, report, repair) != BC_OK) {
		bc_log(BC_LOG_ERR, NULL,
		       "out of memory, an order on the control socket stays unanswered");
	}
}

static void act(void *arg)
{
	struct repair *repair = arg;
	struct worker *worker = &repair->server->workers[0];

	if (repair->resolve) {
		tool_host_resolve(worker->tools, repair->intent, repair->how, done, repair);
	} else {
		tool_host_retry(worker->tools, worker->cfg, repair->intent, done, repair);
	}
}

static void order(const struct repair *wanted)
{
	const struct worker *worker = &wanted->server->workers[0];
	struct repair *repair;

	if (worker->tools == NULL) {
		answer(wanted->request, "error: no tool is configured, so there is no journal\n");
		return;
	}
	repair = malloc(sizeof(*repair));
	if (repair != NULL) {
		*repair = *wanted;
		if (worker->loop != NULL && loop_post(worker->loop, act, repair) == BC_OK) {
			return;
		}
	}
	free(repair);
	answer(wanted->request, "error: not possible now, try again\n");
}

/* ---- words ---- */

static struct bc_span next_word(struct bc_span *rest)
{
	const char *end = memchr(rest->ptr, ' ', rest->len);
	size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
	struct bc_span word = bc_span(rest->ptr, len);

	len += end == NULL ? 0 : 1;
	*rest = bc_span(rest->ptr + len, rest->len - len);
	return word;
}

static bool read_number(struct bc_span word, uint64_t *ret)
{
	uint64_t number = 0;

	for (size_t i = 0; i < word.len; i++) {
		if (word.ptr[i] < '0' || word.ptr[i] > '9' || i == 18) {
			return false;
		}
		number = number * 10 + (uint64_t)(word.ptr[i] - '0');
	}
	*ret = number;
	return number > 0;
}

static bool read_outcome(struct bc_span word, enum jrn_settlement *ret)
{
	static const struct {
		const char *word;
		enum jrn_settlement how;
	} outcomes[] = {
		{"done", JRN_USED}, {"undone", JRN_UNDONE}, {"not_done", JRN_NEVER_STARTED}};

	for (unsigned i = 0; i < BC_ARRAY_LEN(outcomes); i++) {
		if (bc_span_is(word, outcomes[i].word)) {
			*ret = outcomes[i].how;
			return true;
		}
	}
	return false;
}

void repair_begin(struct server *server, struct loop *main, const struct cfg *cfg,
		  struct adm_request *request, struct bc_span rest)
{
	struct bc_span verb = next_word(&rest);
	struct bc_span object = next_word(&rest);
	struct repair repair = {.server = server, .main = main, .request = request};

	if (server->journal == NULL) {
		answer(request, "error: no tool is configured, so there is no journal\n");
	} else if ((bc_span_is(verb, "list") && object.len == 0) ||
		   (bc_span_is(verb, "show") && object.len > 0 && rest.len == 0)) {
		look(cfg, request, object);
	} else if (bc_span_is(verb, "retry") && read_number(object, &repair.intent) &&
		   rest.len == 0) {
		order(&repair);
	} else if (bc_span_is(verb, "resolve") && read_number(object, &repair.intent) &&
		   read_outcome(rest, &repair.how)) {
		repair.resolve = true;
		order(&repair);
	} else {
		answer(request,
		       "error: there are: journal list, journal show SESSION, journal retry ID, "
		       "journal resolve ID done|undone|not_done\n");
	}
}
