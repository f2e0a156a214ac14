/*
 * A client, as the usual libraries have it: runs what it is told to call of a tool of its own, answers, and asks for a
 * response when everything is answered, or a turn was typed, and none is under way.  It must never see a call of a tool that
 * is not its own.
 */
#include "tests/sim/world.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 64 /* of a session */

struct sim_client;

struct answer {
	struct sim_client *client;
	struct sim_event *event; /* NULL: it was given */
	char call_id[SIM_ID + 8];
	unsigned n;
};

struct sim_client {
	struct sim_conv *conv;
	struct sim_event *speaking; /* it is about to ask for something */
	unsigned waiting;           /* calls that are not answered */
	bool owes;                  /* a response is to be asked for */
	bool active;                /* one is under way */
	bool asked;                 /* a request of its own has been neither begun nor refused */
	struct answer answers[CALLS_MAX];
	unsigned count;
};

static void declare(void *arg)
{
	struct sim_client *client = arg;

	client->speaking = NULL;
	if (sim.profile.tagged) {
		caller_from_client(client->conv, "{\"type\":\"backchannel.hello\",\"version\":1}");
	}
	if (!variant_has(sim.profile.variant, SIM_CLIENT_TOOLS)) {
		return;
	}
	caller_from_client(
		client->conv,
		"{\"type\":\"session.update\",\"session\":{\"type\":\"realtime\",\"tools\":[{\"type\":"
		"\"function\",\"name\":\"ask\",\"parameters\":{\"type\":\"object\"}}]}}");
}

static void request(void *arg)
{
	struct sim_client *client = arg;

	client->speaking = NULL;
	if (client->owes && !client->active) {
		client->owes = false;
		client->asked = true;
		caller_from_client(client->conv, "{\"type\":\"response.create\"}");
	}
}

static void pump(struct sim_client *client)
{
	if (client->owes && !client->active && client->speaking == NULL) {
		client->speaking = sim_at(0, request, client);
	}
}

void client_ask(struct sim_client *client, bc_usec delay)
{
	client->owes = true;
	if (client->speaking == NULL) {
		client->speaking = sim_at(delay, request, client);
	}
}

static void give(void *arg)
{
	struct answer *answer = arg;
	struct sim_client *client = answer->client;
	char text[256];

	answer->event = NULL;
	(void)snprintf(
		text, sizeof(text),
		"{\"type\":\"conversation.item.create\",\"item\":{\"type\":"
		"\"function_call_output\",\"call_id\":\"%s\",\"output\":\"{\\\"n\\\":%u}\"}}",
		answer->call_id, answer->n);
	client->waiting--;
	client->owes = client->owes || client->waiting == 0;
	caller_from_client(client->conv, text);
	pump(client);
}

static const char *string_of(const json_t *object, const char *key)
{
	const json_t *at = json_object_get(object, key);

	return json_is_string(at) ? json_string_value(at) : "";
}

static void on_call(struct sim_client *client, const json_t *item)
{
	const char *id = string_of(item, "call_id");
	struct answer *answer = &client->answers[client->count];
	json_t *arguments;

	if (strcmp(string_of(item, "name"), sim_kinds[SIM_ASK].name) != 0) {
		sim_fail("the client sees a call of %s", string_of(item, "name"));
		return;
	}
	for (unsigned i = 0; i < client->count; i++) {
		if (strcmp(client->answers[i].call_id, id) == 0) {
			sim_fail("the client is told twice of %s", id);
		}
	}
	BC_BUG_ON(++client->count == CALLS_MAX);
	arguments = json_loads(string_of(item, "arguments"), 0, NULL);
	answer->client = client;
	answer->n = (unsigned)json_integer_value(json_object_get(arguments, "n"));
	json_decref(arguments);
	(void)snprintf(answer->call_id, sizeof(answer->call_id), "%s", id);
	answer->event = sim_at(sim_between(5 * SIM_MS, 600 * SIM_MS), give, answer);
	client->waiting++;
	sim.stats.asked++;
}

/* What the caller himself had asked for was refused.  In the older worlds a client takes it for its own. */
static bool is_of_caller(const json_t *event)
{
	return sim.profile.tagged && strcmp(string_of(json_object_get(event, "error"), "code"),
					    "response_cancel_not_active") == 0;
}

void client_hear(struct sim_client *client, struct bc_span payload)
{
	json_t *event = json_loadb(payload.ptr, payload.len, 0, NULL);
	const json_t *item = json_object_get(event, "item");
	const char *type = string_of(event, "type");

	if (strcmp(type, "response.created") == 0) {
		client->active = true;
		client->asked = false;
	} else if (strcmp(type, "response.done") == 0) {
		client->active = false;
		pump(client);
	} else if (strcmp(type, "error") == 0 && !is_of_caller(event)) {
		client->asked = false;
		/* Somebody else was quicker: it asks again behind that. */
		client->owes = strcmp(string_of(json_object_get(event, "error"), "code"),
				      "conversation_already_has_active_response") == 0;
	} else if (strcmp(type, "response.output_item.done") == 0 &&
		   strcmp(string_of(item, "type"), "function_call") == 0 &&
		   strcmp(string_of(item, "status"), "completed") == 0) {
		on_call(client, item);
	}
	json_decref(event);
}

struct sim_client *client_new(struct sim_conv *conv)
{
	struct sim_client *client = calloc(1, sizeof(*client));

	BC_BUG_ON(client == NULL);
	client->conv = conv;
	client->speaking = sim_at(0, declare, client);
	return client;
}

struct sim_client *client_free(struct sim_client *client)
{
	if (client == NULL) {
		return NULL;
	}
	if (client->asked && !conv_was_cut(client->conv)) {
		sim_fail("the client has asked for a response, and was never told of one");
	}
	if (client->speaking != NULL) {
		sim_forget(client->speaking);
	}
	for (unsigned i = 0; i < client->count; i++) {
		if (client->answers[i].event != NULL) {
			sim_forget(client->answers[i].event);
		}
	}
	free(client);
	return NULL;
}
