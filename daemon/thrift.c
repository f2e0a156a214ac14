#include "daemon/thrift.h"

#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/journal/history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct thrift {
	pthread_mutex_t lock;
	struct admission *admission;
};

struct thrift *thrift_new(void)
{
	struct thrift *thrift = calloc(1, sizeof(*thrift));

	if (thrift == NULL) {
		return NULL;
	}
	thrift->admission = admission_new();
	if (thrift->admission == NULL || pthread_mutex_init(&thrift->lock, NULL) != 0) {
		admission_free(thrift->admission);
		free(thrift);
		return NULL;
	}
	return thrift;
}

struct thrift *thrift_free(struct thrift *thrift)
{
	if (thrift == NULL) {
		return NULL;
	}
	admission_free(thrift->admission);
	/* Nobody holds it any more. */
	(void)pthread_mutex_destroy(&thrift->lock);
	free(thrift);
	return NULL;
}

void thrift_recall(struct thrift *thrift, const struct cfg *cfg, const struct jrn_history_row *row,
		   bc_usec wall)
{
	const struct cfg_tool *tool = cfg_tool_find(cfg, row->tool);

	if (tool != NULL) {
		admission_recall(thrift->admission, tool->name, row->used, wall - row->wall,
				 cfg->speculation.learn_half_life, row->took);
	}
}

/* ---- sessions ---- */

enum admission_refusal thrift_admit(struct thrift *thrift, const struct admission_ask *ask)
{
	enum admission_refusal refusal;

	BC_BUG_ON(pthread_mutex_lock(&thrift->lock) != 0);
	refusal = admission_ask(thrift->admission, ask);
	BC_BUG_ON(pthread_mutex_unlock(&thrift->lock) != 0);
	return refusal;
}

void thrift_learn(struct thrift *thrift, const struct admission_ask *from,
		  const struct admission_event *event)
{
	const char *name = event->tool == NULL ? "" : event->tool->name;
	bool before;
	bool after;

	BC_BUG_ON(pthread_mutex_lock(&thrift->lock) != 0);
	before = admission_is_killed(thrift->admission, name, event->trigger);
	admission_learn(thrift->admission, from, event);
	after = admission_is_killed(thrift->admission, name, event->trigger);
	BC_BUG_ON(pthread_mutex_unlock(&thrift->lock) != 0);
	if (!before && after) {
		bc_metric_inc(BC_M_KILLS);
		bc_log(BC_LOG_WARNING, NULL,
		       "too many guesses of tool %s by trigger %s are wasted, only watching them",
		       name, spec_trigger_name(event->trigger));
	} else if (before && !after) {
		bc_log(BC_LOG_NOTICE, NULL,
		       "guesses of tool %s by trigger %s would be used again, running them", name,
		       spec_trigger_name(event->trigger));
	}
}

/* ---- the operator ---- */

static void put(struct bc_buf *out, const char *text)
{
	/* What is beyond the bound is cut: the operator has megabytes to read already. */
	(void)!bc_buf_put_str(out, text);
}

static struct bc_span next_word(struct bc_span *rest)
{
	const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, ' ', rest->len);
	size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
	struct bc_span word = bc_span(rest->ptr, len);

	len += end == NULL ? 0 : 1;
	*rest = bc_span(rest->ptr + len, rest->len - len);
	return word;
}

static bool read_mode(struct bc_span word, enum admission_mode *ret)
{
	static const struct {
		const char *word;
		enum admission_mode mode;
	} modes[] = {{"on", ADMISSION_ON}, {"off", ADMISSION_OFF}, {"shadow", ADMISSION_SHADOW}};

	for (unsigned i = 0; i < BC_ARRAY_LEN(modes); i++) {
		if (bc_span_is(word, modes[i].word)) {
			*ret = modes[i].mode;
			return true;
		}
	}
	return false;
}

static void set_mode(struct thrift *thrift, const char *tool, enum admission_mode mode,
		     struct bc_span word, struct bc_buf *out)
{
	enum bc_err err;

	BC_BUG_ON(pthread_mutex_lock(&thrift->lock) != 0);
	err = admission_set(thrift->admission, tool, mode);
	BC_BUG_ON(pthread_mutex_unlock(&thrift->lock) != 0);
	if (err != BC_OK) {
		put(out, "error: too many tools are known already\n");
		return;
	}
	bc_log(BC_LOG_NOTICE, NULL, "the operator sets guesses of %s to %.*s",
	       tool == NULL ? "all tools" : tool, BC_SPAN_ARG(word));
	(void)!bc_buf_printf(out, "%s: %.*s until changed or the gateway restarts\n",
			     tool == NULL ? "all tools" : tool, BC_SPAN_ARG(word)); /* see put() */
}

void thrift_command(struct thrift *thrift, const struct cfg *cfg, struct bc_span words, bc_usec now,
		    struct bc_buf *out)
{
	struct bc_span verb = next_word(&words);
	struct bc_span object = next_word(&words);
	const struct cfg_tool *tool = object.len == 0 ? NULL : cfg_tool_find(cfg, object);
	enum admission_mode mode = ADMISSION_CONFIGURED;

	if (words.len > 0 || (!bc_span_is(verb, "show") && !read_mode(verb, &mode))) {
		put(out, "error: there are: speculation show|on|off|shadow [TOOL]\n");
	} else if (object.len > 0 && tool == NULL) {
		put(out, "error: no tool of that name is configured\n");
	} else if (mode != ADMISSION_CONFIGURED) {
		set_mode(thrift, tool == NULL ? NULL : tool->name, mode, verb, out);
	} else {
		BC_BUG_ON(pthread_mutex_lock(&thrift->lock) != 0);
		/* Cut, see put(). */
		(void)!admission_show(thrift->admission, &cfg->speculation,
				      tool == NULL ? NULL : tool->name, now, out);
		BC_BUG_ON(pthread_mutex_unlock(&thrift->lock) != 0);
	}
}

enum bc_err thrift_metrics(struct thrift *thrift, const struct cfg *cfg, bc_usec now,
			   struct bc_buf *out)
{
	enum bc_err err;

	BC_BUG_ON(pthread_mutex_lock(&thrift->lock) != 0);
	err = admission_metrics(thrift->admission, &cfg->speculation, now, out);
	BC_BUG_ON(pthread_mutex_unlock(&thrift->lock) != 0);
	return err;
}
