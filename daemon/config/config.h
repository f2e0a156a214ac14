/*
 * The configuration: one TOML file (with includes) read into an immutable, counted snapshot.  A session keeps
 * the snapshot it began with.  Field names and types come from conf/options.def: section speculation, key pause
 * is cfg->speculation.pause; sections that may occur many times are cfg->tool[0 .. cfg->tool_count).
 */
#ifndef BACKCHANNEL_CONFIG_CONFIG_H
#define BACKCHANNEL_CONFIG_CONFIG_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/digest.h"
#include "daemon/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words of the choice lists: enum cfg_effect { CFG_EFFECT_READ, … }; written out because the preprocessor cannot
 * sort rows into enums.  A row without its enumerator does not compile; see schema.c. */
enum cfg_log_level {
	CFG_LOG_LEVEL_ERR,
	CFG_LOG_LEVEL_WARNING,
	CFG_LOG_LEVEL_NOTICE,
	CFG_LOG_LEVEL_INFO,
	CFG_LOG_LEVEL_DEBUG
};
enum cfg_auth_mode {
	CFG_AUTH_KEYS,
	CFG_AUTH_OPEN
};
enum cfg_key_header {
	CFG_KEY_HEADER_BEARER,
	CFG_KEY_HEADER_API_KEY,
	CFG_KEY_HEADER_NONE
};
enum cfg_name_clash {
	CFG_NAME_CLASH_GATEWAY,
	CFG_NAME_CLASH_CLIENT,
	CFG_NAME_CLASH_REFUSE
};
enum cfg_effect {
	CFG_EFFECT_READ,
	CFG_EFFECT_REVERSIBLE,
	CFG_EFFECT_HOLD
};
enum cfg_disclosure {
	CFG_DISCLOSURE_LOCAL,
	CFG_DISCLOSURE_FIRST_PARTY,
	CFG_DISCLOSURE_THIRD_PARTY
};
enum cfg_idempotency {
	CFG_IDEMPOTENCY_KEY,
	CFG_IDEMPOTENCY_NATURAL,
	CFG_IDEMPOTENCY_NONE
};
enum cfg_result {
	CFG_RESULT_JSON,
	CFG_RESULT_TEXT
};
enum cfg_delivery {
	CFG_DELIVERY_WHEN_IDLE,
	CFG_DELIVERY_INTERRUPT,
	CFG_DELIVERY_SILENT
};
enum cfg_barge_in {
	CFG_BARGE_IN_KEEP,
	CFG_BARGE_IN_CANCEL
};
enum cfg_async_results {
	CFG_ASYNC_RESULTS_AUTO,
	CFG_ASYNC_RESULTS_NATIVE,
	CFG_ASYNC_RESULTS_PLACEHOLDER
};
enum cfg_spec_mode {
	CFG_SPEC_MODE_OFF,
	CFG_SPEC_MODE_STRICT,
	CFG_SPEC_MODE_CONFIRM,
	CFG_SPEC_MODE_INJECT
};
/* In the order of care: of several that are said the least one counts, after INHERIT, which says nothing. */
enum cfg_guessing {
	CFG_GUESSING_INHERIT,
	CFG_GUESSING_OFF,
	CFG_GUESSING_STRICT,
	CFG_GUESSING_CONFIRM,
	CFG_GUESSING_INJECT
};
enum cfg_pass_input {
	CFG_PASS_INPUT_AUDIO,
	CFG_PASS_INPUT_TEXT
};
enum cfg_reasoner_kind {
	CFG_REASONER_NATIVE,
	CFG_REASONER_TAGGED
};
enum cfg_tokens_field {
	CFG_TOKENS_FIELD_MAX_COMPLETION_TOKENS,
	CFG_TOKENS_FIELD_MAX_TOKENS
};

/* A secret: only its reference may be printed.  value is NULL when the option is absent. */
struct cfg_secret {
	const char *reference; /* "file:…" (the path made absolute), "env:…", "credential:…" */
	const char *value;     /* NUL-terminated, trailing newline removed */
};

struct cfg_strings {
	const char *const *items;
	size_t count;
};

struct cfg_header {
	const char *name;
	/* a template like url; of a secret the secret itself, which holds no placeholder */
	const char *value;
	const char *reference; /* NULL, or the secret's reference: value must not be shown then */
};

/* An HTTP request template; method is NULL when the option is absent. */
struct cfg_request {
	const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
	const char *url;    /* http:// or https:// */
	const struct cfg_header *headers;
	size_t header_count;
	const char *body; /* NULL: none */
};

/* What an option's TYPE column becomes in C.  Absent strings are NULL. */
#define CFG_CTYPE_BOOL                 bool
#define CFG_CTYPE_COUNT                uint64_t
#define CFG_CTYPE_PORT                 uint16_t
#define CFG_CTYPE_DURATION             bc_usec
#define CFG_CTYPE_SIZE                 size_t
#define CFG_CTYPE_STRING               const char *
#define CFG_CTYPE_PATH                 const char *
#define CFG_CTYPE_URL                  const char *
#define CFG_CTYPE_SECRET               struct cfg_secret
#define CFG_CTYPE_STRINGS              struct cfg_strings
#define CFG_CTYPE_SCHEMA               json_t *
#define CFG_CTYPE_REQUEST              struct cfg_request
#define CFG_CTYPE_CHOICE_log_level     enum cfg_log_level
#define CFG_CTYPE_CHOICE_auth          enum cfg_auth_mode
#define CFG_CTYPE_CHOICE_key_header    enum cfg_key_header
#define CFG_CTYPE_CHOICE_name_clash    enum cfg_name_clash
#define CFG_CTYPE_CHOICE_effect        enum cfg_effect
#define CFG_CTYPE_CHOICE_disclosure    enum cfg_disclosure
#define CFG_CTYPE_CHOICE_idempotency   enum cfg_idempotency
#define CFG_CTYPE_CHOICE_result        enum cfg_result
#define CFG_CTYPE_CHOICE_delivery      enum cfg_delivery
#define CFG_CTYPE_CHOICE_barge_in      enum cfg_barge_in
#define CFG_CTYPE_CHOICE_spec_mode     enum cfg_spec_mode
#define CFG_CTYPE_CHOICE_guessing      enum cfg_guessing
#define CFG_CTYPE_CHOICE_pass_input    enum cfg_pass_input
#define CFG_CTYPE_CHOICE_reasoner      enum cfg_reasoner_kind
#define CFG_CTYPE_CHOICE_tokens_field  enum cfg_tokens_field
#define CFG_CTYPE_CHOICE_async_results enum cfg_async_results

/* struct cfg_daemon, struct cfg_listen, … one per section. */
#define CHOICE(list, id, word)
#define SECTION_BEGIN(id, upper, number, help)                     struct cfg_##id {
#define OPT(section, key, type, def, min, max, unit, reload, help) CFG_CTYPE_##type key;
#define SECTION_END(id) \
	}               \
	;
#include "conf/options.def"

#define CFG_MEMBER_ONE(id) struct cfg_##id id;
#define CFG_MEMBER_MANY(id)  \
	struct cfg_##id *id; \
	size_t id##_count;

/* One snapshot.  Immutable once cfg_load() has returned it; readable from any thread. */
struct cfg {
	_Atomic unsigned refs;
#define CHOICE(list, id, word)
#define SECTION_BEGIN(id, upper, number, help) CFG_MEMBER_##number(id)
#define OPT(section, key, type, def, min, max, unit, reload, help)
#define SECTION_END(id)
#include "conf/options.def"
	struct cfg_arena *arena; /* owns every string and tree in the snapshot */
};

/*
 * Judges of what the configuration itself does not understand: the schema of a tool's parameters, and its request
 * templates (has_result: of undo).  An error other than BC_E_NOMEM makes a finding of message.  NULL, as at start:
 * that part is not judged.  Set them before the first cfg_load(), from the thread that calls it.
 */
typedef enum bc_err cfg_schema_check_fn(const json_t *schema, struct bc_buf *message);
void cfg_schema_check_set(cfg_schema_check_fn *fn);
typedef enum bc_err cfg_request_check_fn(const struct cfg_request *request,
					 const json_t *parameters, bool has_result,
					 struct bc_buf *message);
void cfg_request_check_set(cfg_request_check_fn *fn);

/*
 * Read and check path and what it includes.  Relative paths in a file are relative to the file's directory.  A tool
 * without tags gets the host of its request's URL.  On error *ret stays untouched and one line per finding
 * "file:line:column: what is wrong; what would be right" is appended to findings (at most CFG_FINDINGS_MAX).
 * BC_E_INVALID (see findings), BC_E_NOMEM.  Blocking file access: start-up and reload only.
 */
#define CFG_FINDINGS_MAX 20
enum bc_err cfg_load(const char *path, struct bc_buf *findings, struct cfg **ret) BC_MUST;

struct cfg *cfg_ref(struct cfg *cfg);
struct cfg *cfg_unref(struct cfg *cfg); /* accepts NULL, returns NULL */

/* The effective configuration as TOML with defaults, secrets as their references only. */
enum bc_err cfg_print(const struct cfg *cfg, struct bc_buf *out) BC_MUST;

/*
 * What a reload cannot change: append the names of the options that need a restart and differ between the two, as
 * "daemon.workers, listen"; nothing when there are none.  A section that may occur many times is named once, also when
 * there are more or fewer of it.
 */
enum bc_err cfg_restart_needed(const struct cfg *running, const struct cfg *loaded,
			       struct bc_buf *out) BC_MUST;

/* The commented sample, and the option part of backchannel.toml(5) in scdoc, from options.def alone. */
enum bc_err cfg_print_sample(struct bc_buf *out) BC_MUST;
enum bc_err cfg_print_manual(struct bc_buf *out) BC_MUST;

/* A new client key, "bck_" and 256 random bits in base64url, with its NUL; *ret_digest is what the file keeps of it. */
#define CFG_KEY_SIZE 48
void cfg_client_key_new(char key[CFG_KEY_SIZE], struct bc_sha256 *ret_digest);

/* The client key a presented key belongs to: constant-time comparison of its SHA-256; NULL: none. */
const struct cfg_client_key *cfg_client_key_find(const struct cfg *cfg, struct bc_span presented);

/* The upstream of that name, the first one for NULL; NULL: no such upstream. */
const struct cfg_upstream *cfg_upstream_find(const struct cfg *cfg, const char *name);

const struct cfg_tool *cfg_tool_find(const struct cfg *cfg, struct bc_span name);

#endif
