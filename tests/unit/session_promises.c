/* What was promised to the client, read from everything that reached it. */
#include "tests/unit/session_model.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* What the client has seen. */
struct seen {
	bool answered[512]; /* its requests for responses, by their number */
	char open
		[MODEL_ID_MAX]; /* response of the default conversation that the client knows to be active */
	json_t *aside;          /* out of band ones */
	json_t *items;          /* of the conversation: id -> position */
	json_t *made;           /* items of responses: id -> true */
	unsigned nameless; /* errors that do not say what they answer */
};

static void see_created(struct seen *seen, const json_t *event)
{
	const char *id = rig_string(event, "response.id");
	const char *n = rig_string(event, "response.metadata.n");
	const json_t *conversation =
		json_object_get(json_object_get(event, "response"), "conversation_id");

	ck_assert_str_eq(rig_string(event, "response.metadata.bc"), "");
	seen->answered[strtoul(n, NULL, 10)] = true;
	if (json_is_null(conversation)) {
		json_object_set_new(seen->aside, id, json_true());
		return;
	}
	ck_assert_msg(seen->open[0] == '\0', "%s began while %s was open", id, seen->open);
	(void)snprintf(seen->open, sizeof(seen->open), "%s", id);
}

static void see_done(struct seen *seen, const json_t *event)
{
	const char *id = rig_string(event, "response.id");

	ck_assert_str_eq(rig_string(event, "response.metadata.bc"), "");
	if (strcmp(id, seen->open) == 0) {
		seen->open[0] = '\0';
		return;
	}
	ck_assert_msg(json_object_del(seen->aside, id) == 0, "%s ended and had not begun", id);
}

/* An item is shown once, behind one that was shown before. */
static void see_item(struct seen *seen, const json_t *event)
{
	const char *id = rig_string(event, "item.id");
	const char *prev = rig_string(event, "previous_item_id");

	ck_assert_msg(json_object_get(seen->items, id) == NULL, "%s was shown twice", id);
	ck_assert_msg(*prev == '\0' || json_object_get(seen->items, prev) != NULL,
		      "%s stands behind %s, which the client does not know", id, prev);
	json_object_set_new(seen->items, id, json_true());
}

static void see(struct seen *seen, const json_t *event)
{
	const char *type = rig_string(event, "type");
	const char *response = rig_string(event, "response_id");

	if (strcmp(type, "response.created") == 0) {
		see_created(seen, event);
	} else if (strcmp(type, "response.done") == 0) {
		see_done(seen, event);
	} else if (strcmp(type, "error") == 0) {
		const char *id = rig_string(event, "error.event_id");

		seen->answered[*id == 'e' ? strtoul(id + 1, NULL, 10) : 0] = true;
		seen->nameless += *id == '\0';
	} else if (strcmp(type, "conversation.item.added") == 0) {
		see_item(seen, event);
	} else if (*response != '\0') {
		ck_assert_msg(strcmp(response, seen->open) == 0 ||
				      json_object_get(seen->aside, response) != NULL,
			      "%s of a response that is not open", type);
		if (strcmp(type, "response.output_item.added") == 0) {
			json_object_set_new(seen->made, rig_string(event, "item.id"), json_true());
		}
	}
}

/* Ids of the gateway, and of calls only the gateway knows, are in no text. */
static void see_no_secret(const char *text)
{
	ck_assert_msg(strstr(text, "\"bc_") == NULL && strstr(text, "\"h") == NULL,
		      "the client got %s", text);
}

static void see_all(struct seen *seen, const struct rig *rig)
{
	for (unsigned i = 0; i < rig->count[SESS_CLIENT]; i++) {
		json_t *event = json_loads(rig->sent[SESS_CLIENT][i], 0, NULL);

		ck_assert_msg(event != NULL, "malformed: %s", rig->sent[SESS_CLIENT][i]);
		see_no_secret(rig->sent[SESS_CLIENT][i]);
		see(seen, event);
		json_decref(event);
	}
}

/* Every request was answered; an error without an id answers one of them, nobody can say which. */
static void check_answers(const struct model *model, const struct seen *seen)
{
	unsigned unanswered = 0;

	for (unsigned i = 1; i <= model->creates; i++) {
		unanswered += !seen->answered[i];
	}
	ck_assert_uint_le(unanswered, seen->nameless);
}

/* Every complete call of ours has its one output; a second one fails when it is read. */
static void check_outputs(const struct model *model)
{
	for (unsigned i = 0; i < model->call_count; i++) {
		ck_assert_msg(!model->calls[i].complete || model->calls[i].outputs == 1,
			      "%s has no output", model->calls[i].id);
	}
}

/* Whatever the caller or the client said is known to both sides, and what a response made is shown wholly or not at all. */
static void check_items(const struct model *model, const struct seen *seen)
{
	char id[MODEL_ID_MAX];

	ck_assert_uint_eq(model->items_sent, model->items_read);
	ck_assert_uint_eq(model->sounds_sent, model->sounds_read);
	for (unsigned i = 1; i <= model->next; i++) {
		const char *const prefixes[] = {"m", "c"};

		for (unsigned k = 0; k < BC_ARRAY_LEN(prefixes); k++) {
			(void)snprintf(id, sizeof(id), "%s%u", prefixes[k], i);
			ck_assert_msg(json_object_get(seen->items, id) == NULL ||
					      json_object_get(seen->made, id) != NULL,
				      "%s was shown in no response", id);
		}
	}
	for (unsigned i = 0; i < model->said_count; i++) {
		ck_assert_msg(json_object_get(seen->items, model->said[i]) != NULL, "%s was lost",
			      model->said[i]);
	}
}

/* Nothing waits for anything. */
static void check_rest(const struct model *model)
{
	static const char *const still[] = {" lane=idle ", " response=- ", " answer_owed=no ",
					    " creates_kept=0 ", " calls_running=0 "};
	struct bc_buf text;

	bc_buf_init(&text, 65536);
	ck_assert_int_eq(sess_describe(model->rig.sess, true, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	for (unsigned i = 0; i < BC_ARRAY_LEN(still); i++) {
		ck_assert_msg(strstr(bc_buf_span(&text).ptr, still[i]) != NULL, "%s",
			      bc_buf_span(&text).ptr);
	}
	bc_buf_release(&text);
}

void model_check(struct model *model, bool settled, bool listens)
{
	struct seen seen = {.aside = json_object(), .items = json_object(), .made = json_object()};

	see_all(&seen, &model->rig);
	if (settled) {
		check_answers(model, &seen);
		check_outputs(model);
		check_items(model, &seen);
		check_rest(model);
		ck_assert(!model->rig.ended);
	}
	if (listens) {
		ck_assert_str_eq(seen.open, "");
		ck_assert_uint_eq(json_object_size(seen.aside), 0);
	}
	json_decref(seen.aside);
	json_decref(seen.items);
	json_decref(seen.made);
}

void model_check_requests(const struct model *model)
{
	const struct rig *rig = &model->rig;
	unsigned requests = 0;
	unsigned ours = 0;

	for (unsigned i = rig->seen[SESS_UPSTREAM]; i < rig->count[SESS_UPSTREAM]; i++) {
		const char *text = rig->sent[SESS_UPSTREAM][i];

		if (strstr(text, "\"response.create\"") != NULL &&
		    strstr(text, "\"conversation\":\"none\"") == NULL) {
			requests++;
			ours += strstr(text, "\"bc\":\"f\"") != NULL;
		}
	}
	ck_assert_msg(ours == 0 || requests == 1, "%u requests, %u of the gateway", requests, ours);
}
