/* What effects change, and what was read of it before. */
#include "daemon/session/sess.h"

static void invalidate_tag(struct sess *sess, const char *tag)
{
	struct work *work;

	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->tool->effect == CFG_EFFECT_READ && spec_has_tag(work->tool, tag)) {
			work->stale = true;
		}
	}
	if (sess->agent->spec != NULL) {
		spec_withdraw_tag(sess->agent->spec, tag);
	}
}

void changes_begin(struct sess *sess, const struct cfg_tool *effect)
{
	if (effect->effect == CFG_EFFECT_READ) {
		return;
	}
	for (size_t i = 0; i < effect->tags.count; i++) {
		invalidate_tag(sess, effect->tags.items[i]);
	}
}

void sess_tag_changed(struct sess *sess, const char *tag)
{
	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_OPEN && sess->agent != NULL) {
		ledger_tag(sess, tag);
		invalidate_tag(sess, tag);
		pass_advance(sess);
	}
}

void changes_tell(struct sess *sess, const struct cfg_tool *effect)
{
	for (size_t i = 0; effect->effect != CFG_EFFECT_READ && i < effect->tags.count; i++) {
		sess->world->changed(sess->world_arg, effect->tags.items[i]);
	}
}
