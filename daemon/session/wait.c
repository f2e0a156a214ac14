/* Why a session waits, and how long what takes. */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>

enum wait {
#define WAIT(id, name, help) WAIT_##id,
#include "daemon/session/wait.def"
	/* must be last */
	WAIT__COUNT
};

static const char *const names[] = {
#define WAIT(id, name, help) name,
#include "daemon/session/wait.def"
};

static_assert(BC_ARRAY_LEN(names) == WAIT__COUNT, "a reason has no name");
static_assert(WAIT__COUNT <= LEDGER_WAITS_MAX, "no room for the time of so many reasons");

/* Written out, so that a reason without metrics, or a metric nobody counts, is found. */
static const struct {
	enum bc_metric count;
	enum bc_metric milliseconds;
} metrics[] = {
	[WAIT_PROVIDER] = {BC_M_WAIT_PROVIDER, BC_M_WAIT_PROVIDER_MS},
	[WAIT_START_QUEUE] = {BC_M_WAIT_START_QUEUE, BC_M_WAIT_START_QUEUE_MS},
	[WAIT_SLOW_PROVIDER] = {BC_M_WAIT_SLOW_PROVIDER, BC_M_WAIT_SLOW_PROVIDER_MS},
	[WAIT_SLOW_CLIENT] = {BC_M_WAIT_SLOW_CLIENT, BC_M_WAIT_SLOW_CLIENT_MS},
	[WAIT_UPDATE] = {BC_M_WAIT_UPDATE, BC_M_WAIT_UPDATE_MS},
	[WAIT_CREATE] = {BC_M_WAIT_CREATE, BC_M_WAIT_CREATE_MS},
	[WAIT_CANCEL] = {BC_M_WAIT_CANCEL, BC_M_WAIT_CANCEL_MS},
	[WAIT_WITHHELD] = {BC_M_WAIT_WITHHELD, BC_M_WAIT_WITHHELD_MS},
	[WAIT_OUTPUT] = {BC_M_WAIT_OUTPUT, BC_M_WAIT_OUTPUT_MS},
	[WAIT_TOOL] = {BC_M_WAIT_TOOL, BC_M_WAIT_TOOL_MS},
	[WAIT_RESPONSE] = {BC_M_WAIT_RESPONSE, BC_M_WAIT_RESPONSE_MS},
	[WAIT_CLIENT_OUTPUT] = {BC_M_WAIT_CLIENT_OUTPUT, BC_M_WAIT_CLIENT_OUTPUT_MS},
	[WAIT_CLIENT_CREATE] = {BC_M_WAIT_CLIENT_CREATE, BC_M_WAIT_CLIENT_CREATE_MS},
	[WAIT_KEPT] = {BC_M_WAIT_KEPT, BC_M_WAIT_KEPT_MS},
	[WAIT_CALLER] = {BC_M_WAIT_CALLER, BC_M_WAIT_CALLER_MS},
	[WAIT_OWN_ANSWER] = {BC_M_WAIT_OWN_ANSWER, BC_M_WAIT_OWN_ANSWER_MS},
	[WAIT_OTHER_RESPONSE] = {BC_M_WAIT_OTHER_RESPONSE, BC_M_WAIT_OTHER_RESPONSE_MS},
	[WAIT_VERDICT] = {BC_M_WAIT_VERDICT, BC_M_WAIT_VERDICT_MS},
	[WAIT_SILENCE] = {BC_M_WAIT_SILENCE, BC_M_WAIT_SILENCE_MS},
	[WAIT_EARLIER_CALL] = {BC_M_WAIT_EARLIER_CALL, BC_M_WAIT_EARLIER_CALL_MS},
	[WAIT_PASS] = {BC_M_WAIT_PASS, BC_M_WAIT_PASS_MS},
	[WAIT_PASS_REST] = {BC_M_WAIT_PASS_REST, BC_M_WAIT_PASS_REST_MS},
	[WAIT_FILLER] = {BC_M_WAIT_FILLER, BC_M_WAIT_FILLER_MS},
	[WAIT_PLACEHOLDER] = {BC_M_WAIT_PLACEHOLDER, BC_M_WAIT_PLACEHOLDER_MS},
	[WAIT_FOLLOWUP] = {BC_M_WAIT_FOLLOWUP, BC_M_WAIT_FOLLOWUP_MS},
	[WAIT_EAGER] = {BC_M_WAIT_EAGER, BC_M_WAIT_EAGER_MS},
	[WAIT_TAKEOVER] = {BC_M_WAIT_TAKEOVER, BC_M_WAIT_TAKEOVER_MS},
	[WAIT_WORDS_AHEAD] = {BC_M_WAIT_WORDS_AHEAD, BC_M_WAIT_WORDS_AHEAD_MS},
	[WAIT_REASONER] = {BC_M_WAIT_REASONER, BC_M_WAIT_REASONER_MS},
	[WAIT_REASONER_REST] = {BC_M_WAIT_REASONER_REST, BC_M_WAIT_REASONER_REST_MS},
};

static_assert(BC_ARRAY_LEN(metrics) == WAIT__COUNT, "a reason has no metrics");

/* ---- reasons ---- */

static uint32_t bit(enum wait reason, bool holds)
{
	return holds ? UINT32_C(1) << reason : 0;
}

static uint32_t flow_reasons(const struct sess *sess)
{
	unsigned client = sess->blocked[SESS_CLIENT];

	return bit(WAIT_PROVIDER, sess->state == SESS_CONNECTING) |
	       bit(WAIT_START_QUEUE, (client & FLOW_START_QUEUE_FULL) != 0) |
	       bit(WAIT_SLOW_PROVIDER, (client & FLOW_PEER_SLOW) != 0) |
	       bit(WAIT_SLOW_CLIENT, (sess->blocked[SESS_UPSTREAM] & FLOW_PEER_SLOW) != 0);
}

static uint32_t call_reasons(const struct step *step)
{
	uint32_t reasons = 0;
	const struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->answered) {
			continue;
		}
		if (call->work == NULL) {
			reasons |= bit(WAIT_CLIENT_OUTPUT, step->response_done);
		} else {
			bool runs = call->work->output == NULL;

			reasons |= bit(WAIT_TOOL, runs && !call->work->waiting) |
				   bit(WAIT_EARLIER_CALL, runs && call->work->waiting) |
				   bit(WAIT_RESPONSE, !runs);
		}
	}
	return reasons;
}

static uint32_t step_reasons(const struct agent *agent)
{
	uint32_t reasons = 0;
	const struct step *step;

	TAILQ_FOREACH(step, &agent->steps, link) {
		uint32_t more = call_reasons(step);

		more |= bit(WAIT_CLIENT_CREATE,
			    step->client_since != 0 && (more & bit(WAIT_CLIENT_OUTPUT, true)) == 0);
		reasons |= more;
	}
	return reasons;
}

/* What looks for calls, and what becomes of them before the provider makes them. */
static uint32_t guess_reasons(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return bit(WAIT_PASS, pass_count(agent) > 0) |
	       bit(WAIT_PASS_REST, sess->ledger->at < agent->passes.rest_until) |
	       bit(WAIT_VERDICT, agent->take.waits) |
	       bit(WAIT_SILENCE, agent->take.state == TAKE_GATE) |
	       bit(WAIT_TAKEOVER, agent->take.state == TAKE_CANCELLING) |
	       bit(WAIT_EAGER, agent->eager.open) | bit(WAIT_WORDS_AHEAD, words_are_ahead(agent)) |
	       bit(WAIT_REASONER, reasoner_runs(sess)) |
	       bit(WAIT_REASONER_REST, reasoner_rests(sess));
}

static uint32_t lane_reasons(const struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct resp *current = agent->current;

	return bit(WAIT_UPDATE, !TAILQ_EMPTY(&agent->updates)) |
	       bit(WAIT_CREATE, lane_oldest_asked(sess) != UINT64_MAX) |
	       bit(WAIT_CANCEL, agent->lane == LANE_CANCELLING) |
	       bit(WAIT_WITHHELD, current != NULL && current->view == RESP_WITHHELD) |
	       bit(WAIT_OUTPUT, agent->unacked > 0) | bit(WAIT_KEPT, !TAILQ_EMPTY(&agent->kept)) |
	       bit(WAIT_CALLER, agent->owed && agent->speech) |
	       bit(WAIT_OWN_ANSWER, agent->owed && agent->answer_expected) |
	       bit(WAIT_OTHER_RESPONSE, agent->owed && current != NULL) |
	       bit(WAIT_FILLER, agent->filler.event_id[0] != '\0') |
	       bit(WAIT_PLACEHOLDER, results_wait(sess)) |
	       bit(WAIT_FOLLOWUP, agent->followup[0] != '\0') | guess_reasons(sess);
}

uint32_t wait_reasons(const struct sess *sess)
{
	if (sess->state == SESS_ENDED) {
		return 0;
	}
	if (sess->agent == NULL) {
		return flow_reasons(sess);
	}
	return flow_reasons(sess) | lane_reasons(sess) | step_reasons(sess->agent);
}

enum bc_err wait_put(uint32_t reasons, struct bc_buf *out)
{
	const char *comma = "";
	enum bc_err err = reasons == 0 ? bc_buf_put_str(out, "-") : BC_OK;

	for (unsigned i = 0; i < WAIT__COUNT && err == BC_OK; i++) {
		if ((reasons >> i & 1) != 0) {
			err = bc_buf_printf(out, "%s%s", comma, names[i]);
			comma = ",";
		}
	}
	return err;
}

/* ---- accounts ---- */

static int64_t to_ms(bc_usec time)
{
	return time < 0 ? 0 : time / BC_USEC_PER_MS;
}

void wait_note(struct ledger *ledger, uint32_t reasons, bc_usec at)
{
	uint32_t differ = ledger->waits ^ reasons;
	uint32_t now = (uint32_t)to_ms(at - ledger->sess->started);

	ledger->waits = reasons;
	for (unsigned i = 0; differ != 0; i++, differ >>= 1) {
		if ((differ & 1) == 0) {
			continue;
		}
		if ((reasons >> i & 1) != 0) {
			ledger->wait_since[i] = now;
			bc_metric_inc(metrics[i].count);
		} else {
			bc_metric_add(metrics[i].milliseconds, now - ledger->wait_since[i]);
		}
	}
}

void wait_state(struct sess *sess)
{
	static const enum bc_metric metric[] = {[SESS_CONNECTING] = BC_M_SESS_CONNECTING_MS,
						[SESS_OPEN] = BC_M_SESS_OPEN_MS,
						[SESS_ENDED] = BC_M_SESS_ENDED_MS};
	struct ledger *ledger = sess->ledger;
	bc_usec now = sess_now(sess);

	static_assert(BC_ARRAY_LEN(metric) == SESS_STATE__COUNT, "a state has no metric");
	bc_metric_add(metric[sess->state], to_ms(now - ledger->state_since));
	ledger->state_since = now;
	ledger->changed = true;
	wait_lane(sess);
}

void wait_lane(struct sess *sess)
{
	static const enum bc_metric metric[] = {[LANE_IDLE] = BC_M_LANE_IDLE_MS,
						[LANE_CREATING] = BC_M_LANE_CREATING_MS,
						[LANE_ACTIVE] = BC_M_LANE_ACTIVE_MS,
						[LANE_CANCELLING] = BC_M_LANE_CANCELLING_MS};
	struct ledger *ledger = sess->ledger;
	bc_usec now = sess_now(sess);

	static_assert(BC_ARRAY_LEN(metric) == LANE_STATE__COUNT, "a state has no metric");
	if (sess->agent != NULL) {
		bc_metric_add(metric[sess->agent->lane], to_ms(now - ledger->lane_since));
	}
	ledger->lane_since = now;
}

void wait_tool(const struct cfg_tool *tool, bc_usec took)
{
	static const struct {
		enum bc_metric count;
		enum bc_metric milliseconds;
	} metric[] = {
		[CFG_EFFECT_READ] = {BC_M_TOOL_READS, BC_M_TOOL_READS_MS},
		[CFG_EFFECT_REVERSIBLE] = {BC_M_TOOL_REVERSIBLES, BC_M_TOOL_REVERSIBLES_MS},
		[CFG_EFFECT_HOLD] = {BC_M_TOOL_HOLDS, BC_M_TOOL_HOLDS_MS},
	};

	bc_metric_inc(metric[tool->effect].count);
	bc_metric_add(metric[tool->effect].milliseconds, to_ms(took));
}

void wait_delivered(const struct cfg_tool *tool, bool unspoken)
{
	static const enum bc_metric metric[] = {[CFG_DELIVERY_WHEN_IDLE] = BC_M_DELIVERED_WHEN_IDLE,
						[CFG_DELIVERY_INTERRUPT] = BC_M_DELIVERED_INTERRUPT,
						[CFG_DELIVERY_SILENT] = BC_M_DELIVERED_SILENT};

	bc_metric_inc(metric[unspoken ? CFG_DELIVERY_SILENT : tool->delivery]);
}
