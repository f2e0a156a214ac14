/*
 * Whether the gateway's own ear can be relied on (U19).  It judges by loudness, so a line whose noise is louder than the
 * level never falls silent, and a voice that is softer is never heard.  The provider's detection of speech tells: where it
 * has heard a silence that the ear has not, the level is raised above the noise; where that would be too much, or turns
 * are not heard at all, the call goes by the provider's word alone, and holds wait a little longer.
 *
 * On a line that is silent between words nothing is changed: there the ear has always heard a pause before the provider
 * says that speech has ended, however fast audio comes and however late that word.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#define PAUSES_MAX \
	3 /* pauses beyond the ends of speech that are remembered: the provider may be late with these */
#define UNHEARD_MAX 3 /* spoken turns in a row that were not heard */
#define MORE_QUIET  (200 * BC_USEC_PER_MS)

void ear_paused(struct hearing *hearing)
{
	hearing->pauses = (uint8_t)(hearing->pauses + (hearing->pauses < PAUSES_MAX));
}

/* From here on the provider's word counts. */
static void give_up(struct sess *sess, const char *why)
{
	struct hearing *hearing = &sess->agent->hearing;
	bool spoke = hearing->detector.speech;

	bc_metric_inc(BC_M_EARS_GIVEN_UP);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "%s at a level of -%u dBFS, going by the provider's detection of speech alone", why,
	       audio_detector_level(&hearing->detector));
	ledger_note(sess, LEDGER_GATEWAY, "hears", "by=provider");
	audio_detector_told(&hearing->detector, true);
	if (spoke) {
		hear_event(sess, AUDIO_PAUSE);
	}
}

/* The caller is silent, and all that is heard is noise. */
static void rise(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (!audio_detector_raise(&hearing->detector)) {
		give_up(sess, "the line is too noisy to hear pauses");
		return;
	}
	bc_metric_inc(BC_M_EARS_RAISED);
	ledger_note(sess, LEDGER_GATEWAY, "hears", "level=-%udBFS",
		    audio_detector_level(&hearing->detector));
	audio_detector_rest(&hearing->detector);
	hear_event(sess, AUDIO_PAUSE);
}

/* Compare what was heard with the provider's word that speech has ended. */
static void judge(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (hearing->pauses == 0 && hearing->detector.speech &&
	    audio_detector_is_noisy(&hearing->detector)) {
		rise(sess);
		return;
	}
	hearing->pauses = (uint8_t)(hearing->pauses - (hearing->pauses > 0));
	audio_detector_lower(&hearing->detector);
	if (hearing->turn_open && hearing->spoken) {
		hearing->unheard = 0;
	} else if (++hearing->unheard == UNHEARD_MAX) {
		give_up(sess, "the caller is too soft to be heard");
	}
}

void ear_speech(struct sess *sess, bool started)
{
	struct hearing *hearing = &sess->agent->hearing;
	enum audio_event event;

	if (!hearing->on) {
		return;
	}
	if (!hearing->detector.told) {
		if (!started) {
			judge(sess);
		}
		return;
	}
	event = audio_detector_tell(&hearing->detector, started);
	if (event != AUDIO_NONE) {
		hear_event(sess, event);
	}
}

void ear_configure(struct sess *sess, struct bc_span detection)
{
	struct audio_detector *detector = &sess->agent->hearing.detector;

	if (detector->told && bc_span_is(detection, "null")) {
		audio_detector_told(detector, false); /* there is nobody else to go by */
	}
}

bc_usec ear_hold_quiet(const struct sess *sess)
{
	return sess->cfg->speculation.hold_quiet +
	       (sess->agent->hearing.detector.told ? MORE_QUIET : 0);
}

enum bc_err ear_describe(const struct sess *sess, struct bc_buf *out)
{
	const struct hearing *hearing = &sess->agent->hearing;

	if (!hearing->on) {
		return bc_buf_put_str(out, " hears_by=-");
	}
	return bc_buf_printf(out, " hears_by=%s level=-%udBFS",
			     hearing->detector.told ? "provider" : "itself",
			     audio_detector_level(&hearing->detector));
}
