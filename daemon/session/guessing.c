/* What is done with guesses in one session: by the configuration, the client's key, the upstream and each tool. */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

static enum spec_mode default_mode(const struct cfg *cfg)
{
	switch (cfg->speculation.mode) {
	case CFG_SPEC_MODE_OFF:
		return SPEC_OFF;
	case CFG_SPEC_MODE_STRICT:
		return SPEC_STRICT;
	case CFG_SPEC_MODE_CONFIRM:
		return SPEC_CONFIRM;
	case CFG_SPEC_MODE_INJECT:
		return SPEC_INJECT;
	}
	BC_BUG_ON(true);
	return SPEC_OFF;
}

/* What the key and the upstream of a session say about guessing. */
static enum cfg_guessing guessing_of(const struct sess_conf *conf)
{
	const struct cfg *cfg = conf->cfg;

	for (size_t i = 0; conf->client != NULL && i < cfg->client_key_count; i++) {
		if (strcmp(cfg->client_key[i].name, conf->client) == 0) {
			return spec_more_careful(cfg->client_key[i].speculation,
						 conf->upstream->speculation);
		}
	}
	return conf->upstream->speculation;
}

/* The most that is done with a guess of any tool; SPEC_OFF: nothing is worth a pass. */
static enum spec_mode most_of(const struct cfg *cfg, const struct spec_conf *conf)
{
	enum spec_mode most = SPEC_OFF;

	for (size_t i = 0; i < cfg->tool_count; i++) {
		const struct cfg_tool *tool = &cfg->tool[i];
		enum spec_mode mode = spec_mode_of(conf, tool);

		if ((mode == SPEC_STRICT || conf->words) &&
		    (tool->effect != CFG_EFFECT_READ ||
		     tool->disclosure == CFG_DISCLOSURE_THIRD_PARTY)) {
			/* It would wait for the provider's call anyway; a reasoner starts nothing else. */
			continue;
		}
		most = mode > most ? mode : most;
	}
	return most;
}

enum bc_err guessing_begin(struct sess *sess, const struct sess_conf *from)
{
	const struct cfg_speculation *conf = &sess->cfg->speculation;
	struct agent *agent = sess->agent;
	struct spec_conf spec = {.mode = default_mode(sess->cfg),
				 .session = guessing_of(from),
				 .words = conf->reasoner == CFG_REASONER_TAGGED,
				 .reversible = conf->reversible,
				 .interval = conf->interval,
				 .stable_for = conf->stable_for,
				 .growth = conf->growth,
				 .speech_max = conf->speech_max,
				 .passes_max = (unsigned)conf->passes_max,
				 .calls_max = (unsigned)conf->calls_max};

	agent->mode = most_of(sess->cfg, &spec);
	if (agent->mode == SPEC_OFF) {
		return BC_OK;
	}
	agent->spec = spec_new(&spec);
	if (agent->spec == NULL) {
		return BC_E_NOMEM;
	}
	if (conf->prepare && prepare_new(agent) != BC_OK) {
		return BC_E_NOMEM;
	}
	return spec.words ? reasoner_new(sess) : BC_OK;
}

const struct cfg_tool *guessing_call(const struct sess *sess, struct bc_span item, char **ret_said,
				     char **ret_canonical)
{
	char *said = field_text(field_raw(item, "arguments"));
	const struct cfg_tool *tool = NULL;
	char name[SESS_ID_MAX];
	struct bc_buf message; /* nobody is told */

	bc_buf_init(&message, 4096);
	if (said == NULL || !field_is(item, "type", "function_call") ||
	    !field_id(item, "name", name) || !tools_is_gateway(sess, NULL, name, &tool) ||
	    tool_args_check(tool, bc_span_str(said), ret_canonical, &message) != BC_OK) {
		tool = NULL;
	}
	bc_buf_release(&message);
	if (tool == NULL) {
		free(said);
	} else {
		*ret_said = said;
	}
	return tool;
}
