/* The functions between the parts of a session but those that guess, by the file that has them.  Included by sess.h. */
#ifndef BACKCHANNEL_SESSION_PARTS_H
#define BACKCHANNEL_SESSION_PARTS_H

#include "daemon/session/sess.h"

/* ---- session.c: life ---- */

void sess_move(struct sess *sess, enum sess_event event);
const char *sess_state_name(enum sess_state state);
bool sess_to_client(struct sess *sess, struct bc_span text);
/* Stop reading from a side for this reason; go on, if there is no other. */
void sess_block(struct sess *sess, enum sess_side side, enum flow_block reason);
void sess_unblock(struct sess *sess, enum sess_side side, enum flow_block reason);
bool sess_to_upstream(struct sess *sess, struct bc_span text);
/* Tell the client what happened, end open responses, close both sides. */
void sess_end(struct sess *sess, enum bc_err err, const char *code, const char *message);
bc_usec sess_now(const struct sess *sess);
/* Log and count an event that could not be understood; it is forwarded as it is by the caller. */
void sess_event_invalid(struct sess *sess, enum sess_side side, const char *what);

/* ---- client.c, upstream.c: events of the two sides, with gateway tools ---- */

void client_event(struct sess *sess, const struct oai_envelope *envelope);
void upstream_event(struct sess *sess, const struct oai_envelope *envelope);
/* Without gateway tools: forwarded already, only responses are noted. */
void upstream_event_note(struct sess *sess, const struct oai_envelope *envelope);

/* ---- fields.c: small reads from raw events ---- */

/* Copy a string member as plain text; false: absent, no string, or too long. */
bool field_id(struct bc_span object, const char *key, char out[SESS_ID_MAX]);
/* Likewise of a raw value in hand. */
bool field_id_of(struct bc_span raw, char out[SESS_ID_MAX]);
/* A raw member; empty span when absent or the object is malformed. */
struct bc_span field_raw(struct bc_span object, const char *key);
bool field_is(struct bc_span object, const char *key, const char *string);
/* Whether an error without the id of its cause names a parameter of such a request, "session" or "response". */
bool error_is_about(struct bc_span error, const char *request);
/* Heap copy of a raw span; NULL when out of memory. */
char *field_dup(struct bc_span raw);
/* A raw JSON string, decoded; heap; NULL: it is none, or out of memory. */
char *field_text(struct bc_span raw);
/* Append all text that a message item holds, typed or spoken; ret_typed: it holds typed text only. */
enum bc_err field_words(struct bc_span item, struct bc_buf *out, bool *ret_typed) BC_MUST;
/* 64 bits that stand for an id where a wrong one of 2^64 does little harm; never 0. */
uint64_t id_hash(const char *id);

/* ---- rewrite.c: change an event by splicing ---- */

#define REWRITE_EDITS_MAX 8

struct rewrite {
	struct bc_span original;
	struct json_edit edits[REWRITE_EDITS_MAX];
	struct bc_buf inserts[REWRITE_EDITS_MAX];
	unsigned count;
	bool failed;
};

void rewrite_begin(struct rewrite *rewrite, struct bc_span original);
/* Replace a span that lies inside the original. */
void rewrite_replace(struct rewrite *rewrite, struct bc_span at, struct bc_span text);
void rewrite_replace_string(struct rewrite *rewrite, struct bc_span at, const char *string);
/* Set a member of an object that lies inside the original. */
void rewrite_set(struct rewrite *rewrite, struct bc_span object, const char *key,
		 struct bc_span raw);
/* Make the text in out (initialised here; the caller releases it); false: failed, forward the original. */
bool rewrite_end(struct rewrite *rewrite, struct bc_buf *out);

/* ---- toolset.c: whose tools the provider is offered ---- */

/*
 * Whether a call of that name is the gateway's to run.  params: of the response that makes it, whose own list of tools
 * counts before the session's; NULL: it has none.
 */
bool tools_is_gateway(const struct sess *sess, const json_t *params, const char *name,
		      const struct cfg_tool **ret);
/*
 * A function call that is the gateway's to answer: its tool, or restart_unknown if nobody has one of that name.  NULL: it is
 * none, or the client's.
 */
const struct cfg_tool *tools_of_call(const struct sess *sess, const json_t *params,
				     struct bc_span item);
/* The gateway's own first update. */
void tools_offer(struct sess *sess);
/*
 * A client's session.update: forwarded, rewritten where it carries tools.  transcription: the raw value the client gives
 * to audio.input.transcription; empty: none.
 */
void tools_client_update(struct sess *sess, struct bc_span text, struct bc_span transcription);
/* An update of the gateway goes upstream, with these members of session; false: it was not sent. */
bool tools_send_update(struct sess *sess, const char *members, enum update_about about);
/* Union of a client's raw list and the gateway's, heap.  BC_E_EXISTS: names clash and that is refused; BC_E_INVALID. */
enum bc_err tools_union(struct sess *sess, struct bc_span client_list, char **ret) BC_MUST;
/* A session.updated of the provider: shown with the client's own tools, or hidden when it answers the gateway's. */
void tools_session_updated(struct sess *sess, struct bc_span text);
/* An error that answers an update; true: it was the gateway's own. */
bool tools_update_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
void tools_fini(struct agent *agent);
/* Answer a request of the client with an error; event_id: raw JSON, empty: none. */
void client_refuse(struct sess *sess, struct bc_span event_id, const char *code,
		   const char *message);

/* ---- resp.c: the responses in flight ---- */

struct resp *resp_find(const struct sess *sess, const char *id);
/* A response that is shown for now; NULL: too many, or out of memory. */
struct resp *resp_new(struct sess *sess, const char *id);
struct resp *resp_remove(struct sess *sess, struct resp *resp);
/* The one place where a response's view changes: it keeps special_responses right. */
void resp_view_set(struct sess *sess, struct resp *resp, enum resp_view view);
/* Tell the client that every open response has failed. */
void resp_fail_open(struct sess *sess, const char *code, const char *message);
void resp_fini(struct sess *sess);

/* ---- responses.c: what the client sees of the provider's responses ---- */

void resp_created(struct sess *sess, struct bc_span text);
void resp_item_added(struct sess *sess, struct bc_span text);
void resp_item_done(struct sess *sess, struct bc_span text);
void resp_done(struct sess *sess, struct bc_span text);
/* Any other response event: shown, held, hidden or renamed; false: the client does not get it. */
bool resp_event(struct sess *sess, struct bc_span text);
/* Keep an event back behind what is held already; false: too much, nothing was added. */
bool resp_hold(struct resp *resp, struct bc_span text);
/* Show what was held, and forget it. */
void resp_release_held(struct sess *sess, struct resp *resp);
/* Show an event of this response, under the id the client knows. */
void resp_show(struct sess *sess, struct resp *resp, struct bc_span text);
/* Show a withheld response from its beginning. */
void resp_reveal(struct sess *sess, struct resp *resp);
/* Keep response.created back until something of it is to be seen. */
void resp_withhold(struct sess *sess, struct resp *resp, struct bc_span text);
/* A withheld response will never be shown. */
void resp_hide(struct sess *sess, struct resp *resp);
/* Nothing will continue the response whose answer was still to come: it ends as the provider has said. */
void resp_merge_release(struct sess *sess);
/* End the response whose answer is still to come, towards the client; status "cancelled" or "failed". */
void resp_merge_close(struct sess *sess, const char *status, const char *reason,
		      const char *message);

/* ---- taken.c: a response that is being taken over ---- */

/* Keep an event of it back; when it says too much, it is shown after all. */
void taken_hold(struct sess *sess, struct resp *resp, struct bc_span text);
/* The same for an event of the conversation about one of its items. */
void taken_hold_current(struct sess *sess, struct bc_span text);
/* It begins an item, which is to go with it if it is taken over or hidden. */
void taken_note(struct resp *resp, struct bc_span item);
/* A call of it is complete, and stays: it gets an output like any other. */
void taken_keep(struct resp *resp, struct bc_span item);
/* Whether an item was begun by the response that is being taken over. */
bool taken_is_leftover(const struct sess *sess, const char *item);
/*
 * It has ended; completed: by itself, before the cancel reached it.  true: nothing of it is shown, nor its end, because
 * calls are put in whose answer will come in another response.
 */
bool taken_ends(struct sess *sess, struct resp *resp, bool completed);
/* It has ended: if it was shown after all and the cancel has cut it off, the caller, who has heard half an answer, gets another. */
void taken_cut_ends(struct sess *sess, struct resp *resp, bool cancelled);
/* Delete the items it began, but for those that are kept. */
void taken_delete(struct sess *sess, struct resp *resp);

/* ---- eager.c: ending turns before the client's silence has passed ---- */

void eager_init(struct sess *sess, struct eager *eager);
void eager_fini(struct agent *agent);
/* The provider's turn_detection, raw; empty: it has not said. */
void eager_configure(struct sess *sess, struct bc_span detection);
/* The caller's turn is over: what was not to be asked in the middle of it is asked now. */
void eager_turn_over(struct sess *sess);
/* A request for the shorter silence was answered; what it says has been looked at. */
void eager_answered(struct sess *sess);
/* The provider does not take the shorter silence. */
void eager_refused(struct sess *sess);
/* The caller was heard, or silent, while its speech is watched (eager.watched). */
void eager_listen(struct sess *sess);
/* Show the client its own turn_detection in a session object. */
void eager_show(const struct sess *sess, struct rewrite *rewrite, struct bc_span session);
/* Whether an event of the provider is kept for later; else it is handled now. */
bool eager_keeps(struct sess *sess, enum oai_event event, struct bc_span text);
/* Whether what the provider begins by itself now is about a turn that went on. */
bool eager_is_over(const struct sess *sess);
/* The caller's speech has ended, in what way ever. */
void eager_speech_over(struct sess *sess);
/* Whether who is asked now would answer to a part of what the caller is saying. */
bool eager_is_split(const struct sess *sess);
/* This is one of those. */
void eager_hides(struct sess *sess, struct resp *resp);
/* The client's silence has passed. */
void eager_timer(struct sess *sess);
/* The provider has gone: what was kept is shown, but the turn was never committed, and no call of it is made. */
void eager_lost(struct sess *sess);

/* ---- usage.c ---- */

/* A rate_limits.updated: shown, held or hidden with the response it stands beside. */
void resp_rate_limits(struct sess *sess, struct bc_span text);
/* Add the numbers of b to a, member by member. */
void usage_owe(struct agent *agent, struct bc_span usage);
/* Send a response.done: output without hidden items, usage with what is owed, metadata and id as the client knows them. */
void done_show(struct sess *sess, const struct resp *resp, struct bc_span text);
/* Whether metadata (raw JSON) say nothing: absent, null or without a pair. */
bool metadata_is_empty(struct bc_span metadata);
/* metadata without the gateway's keys, as raw JSON in out (initialised here; the caller releases it). */
void metadata_strip(struct bc_span metadata, struct bc_buf *out);

/* ---- lane.c: one response at a time ---- */

void lane_move(struct sess *sess, enum lane_event event);
const char *lane_state_name(enum lane_state state);
/* Ask the provider to end a response; false: no memory for the event. */
bool lane_send_cancel(struct sess *sess, const char *response);
/* End the response that occupies the lane. */
void lane_cancel(struct sess *sess, struct resp *resp);
/* A response.create of the client: forwarded, kept back or refused. */
void lane_client_create(struct sess *sess, struct bc_span text);
/* A response.cancel of the client. */
void lane_client_cancel(struct sess *sess, struct bc_span text);
/* Keep a request of the client's back, behind the others or (first) in front of them. */
void lane_keep(struct sess *sess, struct create *create, bool first);
/* Do what can be done now: send a kept request, or ask for the answer that is owed. */
void lane_pump(struct sess *sess);
/* late.c: a request of the client that is sent got its error here; the provider may answer it all the same. */
void late_add(struct agent *agent, struct create *create);
void late_fini(struct agent *agent);
/* Whether a response that begins, with these metadata (raw), answers such a request, which is forgotten. */
bool late_created(struct agent *agent, struct bc_span metadata, bool out_of_band);
/* It does: the client never sees it. */
void late_begin(struct sess *sess, struct resp *resp);
/* A request that was not too late was answered; a late one that looks the same stands for it from now on. */
void late_taken(struct agent *agent, struct create *answered);
/* An error names such a request; true: the client has one already. */
bool late_failed(struct agent *agent, struct bc_span client_id);
/* An error that answers a response.create; true: it was the gateway's own and is hidden. */
bool lane_create_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
/* The client's request that a new response with this metadata answers: removed from the unanswered ones; NULL: none. */
struct create *lane_take_sent(struct sess *sess, struct bc_span metadata, bool out_of_band);
struct create *create_free(struct create *create);
/* An answer is owed; params, borrowed: what it inherits; NULL: nothing new. */
void lane_owe(struct sess *sess, json_t *params, bool at_once);
/* Nobody has to be answered any more. */
void lane_owe_nothing(struct agent *agent);
/* Number of the oldest request for a response, of the client, our own follow-up or filler, without an answer; UINT64_MAX: none. */
uint64_t lane_oldest_asked(const struct sess *sess);
/* The client's oldest unanswered request of that kind; NULL: none. */
struct create *lane_oldest_sent(const struct agent *agent, bool out_of_band);
/* A request of the client is over: take it off its list and free it. */
void lane_drop_create(struct agent *agent, struct create_list *list, struct create *create);
/* Our request was refused: it is repeated behind the response that is in its way, or given up. */
void lane_followup_refused(struct sess *sess, bool collision);
/* Whether any request for a response, of the client or our own follow-up, has no answer yet. */
bool lane_is_asked(const struct sess *sess);
void lane_speech(struct sess *sess, bool started);
void lane_fini(struct agent *agent);

/* ---- repeats.c: calls that equal an earlier one ---- */

/* Whether the provider itself has made this call in that turn: a pass that names it again tells nothing new. */
bool work_is_real(const struct sess *sess, const struct cfg_tool *tool, const char *arguments,
		  uint64_t turn);
/* That work, maybe still running; NULL: there is none. */
const struct work *work_real(const struct sess *sess, const struct cfg_tool *tool,
			     const char *arguments, uint64_t turn);
/* Whether an effect of an earlier turn equals it whose outcome nobody has heard: a real call of it in this one joins that. */
bool work_is_untold(const struct sess *sess, const struct cfg_tool *tool, const char *arguments,
		    uint64_t turn);
/*
 * The execution that a call of a response repeats: of its turn, or of one before whose outcome nobody has heard of; NULL: it
 * is a new one.  *ret_occurrence: how many equal calls this very response has made before.
 */
struct work *work_repeated(struct sess *sess, const struct resp *resp,
			   const struct spec_call *named, unsigned *ret_occurrence);

/* ---- works.c: executions of tools ---- */

/* The work a real call stands for: an equal call of the turn, a guess, or a new run.  NULL when out of memory. */
struct work *work_for_call(struct sess *sess, const struct resp *resp, const struct cfg_tool *tool,
			   struct bc_span arguments);
/* Run a stable guess.  false: it could not be started. */
bool work_guess(struct sess *sess, struct guess *guess);
/* A guess of a verdict is real now; an effect that was not run yet is prepared for work_release().  NULL: no memory. */
struct work *work_of_verdict(struct sess *sess, struct guess *guess);
/* Start the effect a verdict has named.  false: it could not be started. */
bool work_release(struct work *work);
/* A guess nobody will use: abort it and forget the work. */
void work_drop_guess(struct sess *sess, struct guess *guess);
/* The caller has interrupted a read that nobody else waits for: abort it; its output says so. */
void work_give_up(struct sess *sess, struct work *work);
/* The output went into the conversation: settle the run. */
void work_used(struct sess *sess, struct work *work);
/* What was read before this effect, or while it ran, must not be used for calls made after it. */
void changes_begin(struct sess *sess, const struct cfg_tool *effect);
/* Other callers may have read what this effect has changed. */
void changes_tell(struct sess *sess, const struct cfg_tool *effect);
/* A work that ends at once with an error for the model: nothing is run.  NULL when out of memory. */
struct work *work_error(struct sess *sess, const struct spec_call *named, const char *type,
			struct bc_span message);
/* An answer that knows what the provider had confirmed before it began is heard by the caller. */
void works_tell(struct sess *sess, const struct resp *resp);
/* Forget works of turns before this one that no call refers to any more. */
void works_forget(struct sess *sess, uint64_t before_turn);
void works_fini(struct sess *sess);

/* ---- steps.c: calls of gateway tools ---- */

/* A complete function call of a gateway tool in the default conversation. */
void step_call(struct sess *sess, struct resp *resp, const struct cfg_tool *tool,
	       struct bc_span item);
/* A complete function call of a client's tool in the default conversation. */
void step_client_call(struct sess *sess, struct resp *resp, struct bc_span item);
/*
 * Put calls in that a verdict names, as if a response had made them; outputs follow as for any step.  params: what the
 * follow-up inherits, borrowed.  false: out of memory or too many steps.
 */
bool step_inject(struct sess *sess, json_t *params, struct work *const works[], unsigned count,
		 bool wants_answer);
/* An effect of a verdict starts: its call enters the conversation. */
void step_work_starts(struct sess *sess, const struct work *work);
/* An effect of a verdict will not start: its call never was. */
void step_work_dropped(struct sess *sess, const struct work *work);
/* The response of a step has ended; params: what the follow-up inherits, borrowed. */
void step_response_done(struct sess *sess, struct resp *resp, bool wants_answer);
/* The provider has removed an item: if it was a call, its result needs another way. */
void step_item_deleted(struct sess *sess, const char *id);
/* A work has its output: put in what can be put in. */
void step_advance(struct sess *sess);
/* The client has answered one of its own calls. */
void step_client_output(struct sess *sess, struct bc_span call_id);
/* A step that is not answered yet and that no later input has overtaken: a request for a response waits for it. */
bool step_is_open(const struct sess *sess);
/* The caller speaks: give up reads, and keep silent about other calls, whose tools say so. */
void step_barge_in(struct sess *sess);
/* Whatever is outstanding is put in when it comes, but nobody asks for an answer to it. */
void step_abandon_all(struct sess *sess);
/* Whether a call refers to this work. */
bool step_uses(const struct sess *sess, const struct work *work);
void step_fini(struct sess *sess);

/* ---- traits.c: what the provider does and does not do ---- */

/* Begin with what is known; NULL: nothing. */
void traits_begin(struct sess *sess, const struct trait_set *known);
/* It was seen to do (1) or not to do (0) this, or has taken so long. */
void trait_notice(struct sess *sess, enum trait trait, int32_t value);
/* Whether it is known not to do this. */
bool trait_lacks(const struct sess *sess, enum trait trait);
/* A running pass has ended; to be called before spec knows. */
void traits_pass_done(struct sess *sess, const struct pass *pass, struct bc_span response);
void traits_pass_named(struct sess *sess, const struct pass *pass);
/* A pass was refused: the next one does without what it was refused for. */
void traits_pass_refused(struct sess *sess, const struct pass *pass, struct bc_span error);
/* The provider itself has made a call in a turn. */
void traits_call(struct sess *sess, uint64_t turn);
/* An item the gateway has made is in the conversation. */
void traits_call_item(struct sess *sess, struct bc_span item);
/* A part of a response begins. */
void traits_part(struct sess *sess, struct bc_span text);
void traits_response_done(struct sess *sess, const struct resp *resp, struct bc_span response);
/* The transcript of what was said last is complete. */
void traits_transcribed(struct sess *sess);

/* ---- answers.c: how long they take to begin ---- */

/* A turn has ended, spoken or typed; the provider may begin an answer by itself. */
void answer_turn_ended(struct sess *sess, bool spoken);
/* The client's request for a response goes upstream. */
void answer_asked(struct sess *sess);
/* A response was created, an item of a response begins; to be called behind everything else. */
void answer_created(struct sess *sess, struct bc_span text);
void answer_item(struct sess *sess, struct bc_span text);
/* What comes now cannot be compared any more. */
void answer_forget(struct agent *agent);
/* Whether the caller's turn is over and its answer, or one that follows a tool, has no item yet. */
bool answer_is_awaited(const struct sess *sess);

#endif
