/* What is known and was decided about guesses, for people and for Prometheus. */
#include "daemon/spec/admission_internal.h"

#include "daemon/config/config.h"

#include <inttypes.h>
#include <string.h>

static const char *const mode_names[] = {[ADMISSION_CONFIGURED] = "configured",
					 [ADMISSION_ON] = "on",
					 [ADMISSION_OFF] = "off",
					 [ADMISSION_SHADOW] = "shadow"};

static double seconds(double usec)
{
	return usec / (double)BC_USEC_PER_SEC;
}

static bool is_used(const struct admission_cell *cell)
{
	return cell->hits + cell->joins + cell->wasted + cell->shadow_hits + cell->shadow_misses >
	       0;
}

/* Whether the kill switch has tripped for anything that leads to guesses of the tool. */
static bool is_killed(const struct admission_tool *tool)
{
	bool killed = false;

	for (unsigned i = 0; i < SPEC_TRIGGER__COUNT; i++) {
		killed = killed || tool->cell[i].killed;
	}
	return killed;
}

static uint64_t kills(const struct admission_tool *tool)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SPEC_TRIGGER__COUNT; i++) {
		sum += tool->cell[i].kills;
	}
	return sum;
}

/* Seconds saved for each wasted call; with none wasted, all that was saved. */
static double worth(const struct admission_cell *cell)
{
	return seconds((double)cell->saved) / (double)(cell->wasted == 0 ? 1 : cell->wasted);
}

static enum bc_err show_cell(struct admission_tool *tool, enum spec_trigger trigger, double p,
			     struct bc_buf *out)
{
	const struct admission_cell *cell = &tool->cell[trigger];

	return bc_buf_printf(
		out,
		"tool=%s trigger=%s killed=%s probability=%.3f hits=%" PRIu64 " joins=%" PRIu64
		" wasted=%" PRIu64 " wasted_seconds=%.3f saved_seconds=%.3f"
		" saved_per_wasted=%.3f shadow_hits=%" PRIu64 " shadow_misses=%" PRIu64 "\n",
		tool->name, spec_trigger_name(trigger), cell->killed ? "yes" : "no", p, cell->hits,
		cell->joins, cell->wasted, seconds((double)cell->lost),
		seconds((double)cell->saved), worth(cell), cell->shadow_hits, cell->shadow_misses);
}

static enum bc_err show_tool(struct admission_tool *tool, const struct cfg_speculation *conf,
			     bc_usec now, struct bc_buf *out)
{
	enum bc_err err = bc_buf_printf(
		out, "tool=%s mode=%s killed=%s kills=%" PRIu64 " usual_seconds=%.3f\n", tool->name,
		mode_names[tool->mode], is_killed(tool) ? "yes" : "no", kills(tool),
		seconds(tool->latency));

	for (unsigned i = 0; i < SPEC_TRIGGER__COUNT && err == BC_OK; i++) {
		enum spec_trigger trigger = (enum spec_trigger)i;

		if (is_used(&tool->cell[i])) {
			err = show_cell(tool, trigger,
					admission_mean(tool, trigger, conf->learn_half_life, now),
					out);
		}
	}
	return err;
}

enum bc_err admission_show(struct admission *admission, const struct cfg_speculation *conf,
			   const char *name, bc_usec now, struct bc_buf *out)
{
	enum bc_err err = bc_buf_printf(
		out, "all mode=%s shadow=%s passes=%" PRIu64 " tokens=%" PRIu64 " cents=%.6f\n",
		mode_names[admission->mode], conf->shadow ? "yes" : "no", admission->passes,
		admission->spent.tokens, (double)admission->spent.money / 1e6);

	BC_CHECK(admission, ADMISSION_MAGIC);
	for (unsigned i = 0; i < admission->tool_count && err == BC_OK; i++) {
		if (name == NULL || strcmp(admission->tools[i]->name, name) == 0) {
			err = show_tool(admission->tools[i], conf, now, out);
		}
	}
	return err;
}

/* ---- Prometheus ---- */

enum number {
	PROBABILITY,
	KILLED,
	HITS,
	JOINS,
	WASTED,
	WASTED_SECONDS,
	SAVED_SECONDS,
	SAVED_PER_WASTED,
	SHADOW_HITS,
	SHADOW_MISSES
};

static const struct {
	const char *name;
	const char *type;
	const char *help;
} numbers[] = {
	[PROBABILITY] = {"backchannel_spec_tool_hit_probability", "gauge",
			 "Expected share of hits among guesses."},
	[KILLED] = {"backchannel_spec_tool_trigger_killed", "gauge",
		    "Whether the kill switch has tripped for what this trigger leads to."},
	[HITS] = {"backchannel_spec_tool_hits_total", "counter", "Guesses used after their end."},
	[JOINS] = {"backchannel_spec_tool_joins_total", "counter", "Guesses joined while running."},
	[WASTED] = {"backchannel_spec_tool_wasted_total", "counter", "Guesses nobody used."},
	[WASTED_SECONDS] = {"backchannel_spec_tool_wasted_seconds_total", "counter",
			    "Time of guesses nobody used."},
	[SAVED_SECONDS] = {"backchannel_spec_tool_saved_seconds_total", "counter",
			   "Tool time that had passed before the real call was known."},
	[SAVED_PER_WASTED] = {"backchannel_spec_tool_saved_seconds_per_wasted_call", "gauge",
			      "Seconds saved for each guess nobody used."},
	[SHADOW_HITS] =
		{"backchannel_spec_tool_shadow_hits_total", "counter",
		 "Guesses not run that would have been used; followup: results that more calls followed."},
	[SHADOW_MISSES] =
		{"backchannel_spec_tool_shadow_misses_total", "counter",
		 "Guesses not run that would not have been used; followup: results that the answer followed."},
};

static double number_of(const struct admission_cell *cell, enum number number)
{
	switch (number) {
	case KILLED:
		return cell->killed;
	case HITS:
		return (double)cell->hits;
	case JOINS:
		return (double)cell->joins;
	case WASTED:
		return (double)cell->wasted;
	case WASTED_SECONDS:
		return seconds((double)cell->lost);
	case SAVED_SECONDS:
		return seconds((double)cell->saved);
	case SAVED_PER_WASTED:
		return worth(cell);
	case SHADOW_HITS:
		return (double)cell->shadow_hits;
	case SHADOW_MISSES:
		return (double)cell->shadow_misses;
	case PROBABILITY:
		break;
	}
	return 0;
}

static enum bc_err put_numbers(struct admission_tool *tool, enum number number,
			       const struct cfg_speculation *conf, bc_usec now, struct bc_buf *out)
{
	enum bc_err err = BC_OK;

	for (unsigned i = 0; i < SPEC_TRIGGER__COUNT && err == BC_OK; i++) {
		enum spec_trigger trigger = (enum spec_trigger)i;
		double value = number == PROBABILITY
				       ? admission_mean(tool, trigger, conf->learn_half_life, now)
				       : number_of(&tool->cell[i], number);

		if (is_used(&tool->cell[i])) {
			err = bc_buf_printf(out, "%s{tool=\"%s\",trigger=\"%s\"} %.6f\n",
					    numbers[number].name, tool->name,
					    spec_trigger_name(trigger), value);
		}
	}
	return err;
}

static enum bc_err put_killed(const struct admission *admission, struct bc_buf *out)
{
	enum bc_err err = bc_buf_put_str(
		out,
		"# HELP backchannel_spec_tool_killed Whether the kill switch has tripped for any trigger.\n"
		"# TYPE backchannel_spec_tool_killed gauge\n");

	for (unsigned i = 0; i < admission->tool_count && err == BC_OK; i++) {
		err = bc_buf_printf(out, "backchannel_spec_tool_killed{tool=\"%s\"} %d\n",
				    admission->tools[i]->name, is_killed(admission->tools[i]));
	}
	return err;
}

enum bc_err admission_metrics(struct admission *admission, const struct cfg_speculation *conf,
			      bc_usec now, struct bc_buf *out)
{
	enum bc_err err = put_killed(admission, out);

	BC_CHECK(admission, ADMISSION_MAGIC);
	for (unsigned n = 0; n < BC_ARRAY_LEN(numbers) && err == BC_OK; n++) {
		err = bc_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", numbers[n].name,
				    numbers[n].help, numbers[n].name, numbers[n].type);
		for (unsigned i = 0; i < admission->tool_count && err == BC_OK; i++) {
			err = put_numbers(admission->tools[i], (enum number)n, conf, now, out);
		}
	}
	return err;
}
