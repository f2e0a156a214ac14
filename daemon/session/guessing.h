/* The functions between the parts of a session that guess, by the file that has them; parts.h has all others. */
#ifndef BACKCHANNEL_SESSION_GUESSING_H
#define BACKCHANNEL_SESSION_GUESSING_H

#include "daemon/session/sess.h"

/* ---- guessing.c: what is done with guesses ---- */

/* Make what guesses, if anything is to be guessed. */
enum bc_err guessing_begin(struct sess *sess, const struct sess_conf *from) BC_MUST;
/*
 * A function call with which the provider guesses: its tool, which is the gateway's, ret_said its arguments as they were said
 * and ret_canonical as they are compared (both heap, the caller frees them).  NULL: it cannot be made as it is, or it is the
 * client's.
 */
const struct cfg_tool *guessing_call(const struct sess *sess, struct bc_span item, char **ret_said,
				     char **ret_canonical);

/* ---- hearing.c: the caller's words, for guessing ---- */

void hear_configure(struct sess *sess, struct bc_span session);
void hear_audio(struct sess *sess, struct bc_span text);
void hear_transcript(struct sess *sess, struct bc_span text);
/* The client says that the turn is over; the provider has not confirmed it yet. */
void hear_ends(struct sess *sess);
/* The provider has committed a voice: where the detector heard none, words that were given are no authority. */
void hear_unheard(struct sess *sess);
void hear_committed(struct sess *sess);
void hear_cleared(struct sess *sess);
/* The provider may have lost some of the running turn: it is guessed on no more, and nothing is confirmed in it. */
void hear_forgotten(struct sess *sess);
void hear_fini(struct agent *agent);
/* How long the caller has been silent: by the stream, and by the clock where no audio comes any more; INT64_MAX: no voice. */
bc_usec hear_quiet(const struct sess *sess);
void hear_open(struct sess *sess); /* a turn runs from now on, if none does */
/* Where the input stands: time of the samples, and in a typed turn the time that passes.  Never goes back. */
bc_usec hear_position(const struct sess *sess);
void hear_changed(struct sess *sess);       /* the input has grown in this moment */
bool hear_ends_clause(struct bc_span text); /* where a recogniser ends one */
void hear_clause_ended(struct sess *sess);  /* one has: what was said so far is worth a look */
/* The detector, or who tells it, has heard a begin or an end of speech. */
void hear_event(struct sess *sess, enum audio_event event);

/* ---- ear.c: whether the gateway's own detector can be relied on ---- */

void ear_paused(struct hearing *hearing); /* it has heard a pause */
/* The provider says that speech has started, or stopped; before the turn that this ends is committed. */
void ear_speech(struct sess *sess, bool started);
/* The provider's turn_detection, raw; empty: it has not said. */
void ear_configure(struct sess *sess, struct bc_span detection);
/* How long the caller must have been silent before a hold starts. */
bc_usec ear_hold_quiet(const struct sess *sess);
enum bc_err ear_describe(const struct sess *sess, struct bc_buf *out) BC_MUST;

/* ---- preroll.c: what was heard before a turn ---- */

/* Keep audio too, and of all that the last keep bytes, or less than a sample more: whole samples.  Less, out of memory. */
void preroll_keep(struct preroll *preroll, struct bc_span audio, size_t keep, unsigned sample);
/* Put what is kept in front of audio, and keep nothing; returns how much that was.  0 when out of memory: it is lost. */
size_t preroll_give(struct preroll *preroll, struct bc_buf *audio);
/* Keep nothing, and free its memory. */
void preroll_forget(struct preroll *preroll);

/* ---- forsaken.c: passes that come to nothing ---- */

/* Such a pass was asked for with that request. */
void pass_forsake(struct agent *agent, uint64_t request);
/* The provider has created one after all. */
void pass_forsaken_created(struct agent *agent);
/* An error that answers a pass; true: it was, and is hidden. */
bool pass_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
/* The number of the oldest request for a pass that is unanswered, also of one that was given up; UINT64_MAX: there is none. */
uint64_t pass_oldest_asked(struct agent *agent);
/* Whether a response out of band is a pass, although it shows no metadata: none of the client's was asked for before. */
bool pass_is_unmarked(const struct sess *sess, struct bc_span metadata);
/* Such a response was created: it is none to wait for, and no more passes are made. */
void pass_unmarked_created(struct sess *sess);

/* ---- pass_input.c: what a pass is given ---- */

/* Append the request for a pass.  Errors of bc_buf_put(). */
enum bc_err pass_put(struct sess *sess, struct pass *pass, enum pass_given given,
		     struct bc_buf *out) BC_MUST;

/* Likewise for one that assumes that the caller agrees to what was said behind this turn. */
enum bc_err pass_put_prepare(struct sess *sess, const char *event_id, uint64_t turn,
			     struct bc_buf *out) BC_MUST;

/* ---- passes.c: asking what would be called, running guesses ---- */

void pass_init(struct passes *passes);
void pass_trigger(struct sess *sess);      /* something new is known */
void pass_result(struct sess *sess);       /* a guess has its result */
void pass_clause_ended(struct sess *sess); /* passes may have heard all of it themselves */
/* The caller is silent: perhaps the turn is over. */
void pass_pause(struct sess *sess);
unsigned pass_count(const struct agent *agent); /* passes under way */
/* Drop the guesses that were withdrawn, which takes back what they did. */
void pass_drop_withdrawn(struct sess *sess);
void pass_created(struct sess *sess, struct resp *resp, struct bc_span response);
void pass_item(struct sess *sess, const struct resp *resp, struct bc_span item);
void pass_done(struct sess *sess, const struct resp *resp, struct bc_span response);
/* Start what has become stable, cancel what was withdrawn. */
void pass_advance(struct sess *sess);
/* Start one beside the response that goes on from this tool's result, if one may; race.c says whether it could win. */
void pass_followup(struct sess *sess, const struct cfg_tool *behind);
/* Give up passes that have not ended in time; returns when to look again, -1: no need beyond what is set. */
bc_usec pass_due(struct sess *sess);
void pass_turn_committed(struct sess *sess);
/* Nothing of the turns up to this one will be called any more. */
void pass_withdraw(struct sess *sess, uint64_t turn);
void pass_fini(struct sess *sess);

/* ---- race.c: a pass beside a response that goes on from results ---- */

void race_begin(struct sess *sess, struct resp *resp); /* it was created */
/* It has ended; response: as the provider shows it. */
void race_ended(struct sess *sess, const struct resp *resp, struct bc_span response);

/* ---- prepare.c: calls that only wait for a yes; without them all does nothing ---- */

enum bc_err prepare_new(struct agent *agent) BC_MUST;
void prepare_fini(struct agent *agent);
/* The agent has answered, and speaks. */
void prepare_begin(struct sess *sess);
/* Give its pass up where it has not ended in time; when to look again, -1: no need. */
bc_usec prepare_due(struct sess *sess);
/* What its pass says; true: it was that. */
bool prepare_created(struct sess *sess, const struct resp *resp, struct bc_span response);
bool prepare_item(struct sess *sess, const struct resp *resp, struct bc_span item);
bool prepare_done(struct sess *sess, const struct resp *resp);
bool prepare_failed(struct sess *sess, struct bc_span client_id);
/* A turn begins. */
void prepare_turn(struct sess *sess);
/* A call of this tool is real. */
void prepare_match(struct sess *sess, const struct cfg_tool *tool, const char *arguments);
/* What was prepared does not hold any more: tools have changed, or less was heard than was said. */
void prepare_drop_all(struct agent *agent);

/* ---- predict.c: what usually follows ---- */

/* A real call has its result, or a call with a result became real. */
void predict_observe(struct sess *sess, const struct work *work);
/* A call, guessed or real, has its result: run what usually follows. */
void predict_from(struct sess *sess, const struct work *work);
/* A turn begins: run what usually comes after the calls of the last one. */
void predict_turn(struct sess *sess);

/* ---- spend.c: what guessing costs ---- */

/* Whether a stable guess may be run; whether a pass may be made, also one beside the response to a tool's result.  Refusals
 * are counted. */
bool spend_admits(struct sess *sess, const struct guess *guess);
bool spend_admits_pass(struct sess *sess);
bool spend_admits_followup(struct sess *sess, const struct cfg_tool *behind);
/* Whether what a verdict names may be made real: not where the operator wants it watched only, or off.  Counted. */
bool spend_releases(struct sess *sess, const struct guess *guess);
/* A guess was used; saved: how far it was ahead. */
void spend_used(struct sess *sess, const struct guess *guess, bool finished, bc_usec saved);
/* A guess that has run for so long is used by nobody. */
void spend_wasted(struct sess *sess, const struct guess *guess, bc_usec time);
/* A guess that was refused has come to its end. */
void spend_watched(struct sess *sess, const struct guess *guess);
/* Any guess has: what it was as a prediction may have been refused. */
void spend_ended(struct sess *sess, const struct guess *guess, bool used);
/* The response to a tool's result has named more calls, or none. */
void spend_followed(struct sess *sess, const struct cfg_tool *behind, bool called);
/* A call has ended, guessed or not. */
void spend_ran(struct sess *sess, const struct cfg_tool *tool, const struct tool_result *result);
/* A pass has ended with this usage object. */
void spend_pass(struct sess *sess, struct bc_span usage);
/* What a usage object is worth, in millionths of a US cent.  Source: OpenAI Realtime, response.usage. */
uint64_t spend_price(const struct cfg_speculation *prices, const json_t *usage);

/* ---- reasoner.c: a text model that looks for calls in place of passes; without one all but its life does nothing ---- */

enum bc_err reasoner_new(struct sess *sess) BC_MUST;
void reasoner_fini(struct agent *agent);
/* A session object of the provider: what the speaking model was told. */
void reasoner_configure(struct sess *sess, struct bc_span session);
void reasoner_turn_begin(struct sess *sess);
/* There may be new words.  Only with a reasoner. */
void reasoner_trigger(struct sess *sess);
/* Tell it of new words if it is time.  Only with a reasoner. */
void reasoner_advance(struct sess *sess);
/* How long until it may be told of words; -1: there are none.  Only with a reasoner. */
bc_usec reasoner_wait(const struct sess *sess);
/* The running turn is about to become this item; its transcript, if the provider makes one, is still to come. */
void reasoner_committed(struct sess *sess, const char *item);
/* The provider has transcribed an item, or failed to. */
void reasoner_transcribed(struct sess *sess, struct bc_span text);
/* This user item was typed, and was a turn of its own; to be called when it has been committed. */
void reasoner_typed(struct sess *sess, struct bc_span item);
/* The provider has said this to the caller. */
void reasoner_said(struct sess *sess, struct bc_span item);
/* A tool has returned.  The work may be gone behind this. */
void reasoner_result(struct sess *sess, const struct work *work);
/* What it has come to by now is the verdict of the turn, or there is none (spec_reason_confirms()). */
void reasoner_judge(struct sess *sess);
/* Nothing of the turns up to this one will be called any more. */
void reasoner_over(struct sess *sess, uint64_t turn);
/* A guess will not be used. */
void reasoner_lost(struct sess *sess, const struct guess *guess);
/* Whether a generation runs; whether none may begin because one has failed. */
bool reasoner_runs(const struct sess *sess);
bool reasoner_rests(const struct sess *sess);
enum bc_err reasoner_describe(const struct sess *sess, struct bc_buf *out) BC_MUST;

/* ---- takeover.c: what a verdict names takes the place of the provider's own response ---- */

/* Do what can be done now. */
void take_advance(struct sess *sess);
/* Whether this response could give way to a verdict. */
bool take_may_replace(const struct sess *sess, const struct resp *resp);
/* A response has ended: one that named the turn's next calls, or was heard, has decided against other verdicts (V3). */
void take_lost_to(struct sess *sess, const struct resp *resp, bool completed);
/* A response that was cancelled for a verdict has ended.  completed: it came to its own end before. */
void take_resp_done(struct sess *sess, struct resp *resp, bool completed);
/* What it still said was too much to be held: the response is shown, and the verdict forgotten. */
void take_lost(struct sess *sess);
/* Whether a hold of that turn's verdict may start now (J5); heard: hearing.last_input when it was put in. */
bool take_may_start(struct sess *sess, uint64_t turn, bc_usec heard);
/* Whether the client's request must wait for a verdict that is near. */
bool take_waits(struct sess *sess);
/* The wait is over. */
void take_wait_ends(struct sess *sess);
/* Something happened that speaks against starting anything irrevocable; step_advance() must follow. */
void take_disturb(struct sess *sess);
/* … and means that nobody waits for the answer any more. */
void take_unwanted(struct sess *sess);
/* The client says that the turn is over; the provider has not confirmed it yet. */
void take_client_commits(struct sess *sess);
/* The provider has refused something of the client: perhaps that end. */
void take_client_refused(struct sess *sess, struct bc_span error);
/* It is over.  true: holds of an earlier one will not start, and step_advance() must follow. */
bool take_turn_ends(struct sess *sess);
/* An error that answers a call the gateway has put in; true: it was. */
bool take_failed(struct sess *sess, struct bc_span client_id);
const char *take_state_name(enum take_state state);
void take_fini(struct agent *agent);

#endif
