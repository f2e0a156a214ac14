/*
 * What spans several options of a configuration.  Each check runs on values that were read or defaulted; a string that
 * could not be read is NULL here and was reported already.
 */
#include "daemon/config/load.h"
#include "daemon/config/textfile.h"
#include "daemon/config/traits.h"
#include "daemon/config/url.h"

#include <arpa/inet.h>

#define SECRET_KEY_MIN 32 /* characters; as journal.secret_key in conf/options.def says */

static const struct toml_place file_start = {1, 1};

/* Whether the instance is of that section. */
static bool is(const struct cfg_instance *instance, const char *section)
{
	return strcmp(instance->section->name, section) == 0;
}

static void find_at(const struct cfg_instance *instance, const char *key, const char *text)
{
	cfg_finding(instance->source.findings, instance->source.file, cfg_given_at(instance, key),
		    "%s", text);
}

/* The value of a string option of an instance; NULL: absent, or not understood and reported already. */
static const char *string_of(const struct cfg_instance *instance, const char *key)
{
	const struct cfg_option *option = cfg_option_find(instance->section, key);
	const char *value;

	memcpy(&value, (const char *)instance->object + option->offset, sizeof(value));
	return value;
}

static void check_pem(const struct cfg_instance *instance, const char *key)
{
	const char *path = string_of(instance, key);
	const char *wrong = path == NULL ? NULL : cfg_textfile_check(path);

	if (wrong != NULL) {
		cfg_finding(instance->source.findings, instance->source.file,
			    cfg_given_at(instance, key),
			    "\"%s\" names %s, %s; expected a readable PEM file", key,
			    cfg_quoted(path).text, wrong);
	}
}

static void check_address(const struct cfg_instance *instance)
{
	const char *address = string_of(instance, "address");
	unsigned char binary[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, address, binary) != 1 && inet_pton(AF_INET6, address, binary) != 1) {
		find_at(instance, "address",
			"\"address\" is no address; expected one of IPv4 or IPv6 in digits, such as \"127.0.0.1\"");
	}
}

static void check_scheme(const struct cfg_instance *instance, const char *key, const char *first,
			 const char *second)
{
	const char *text = string_of(instance, key);
	struct cfg_url url;

	if (text == NULL || cfg_url_split(text, &url) != NULL || bc_span_is(url.scheme, first) ||
	    bc_span_is(url.scheme, second)) {
		return;
	}
	cfg_finding(instance->source.findings, instance->source.file, cfg_given_at(instance, key),
		    "\"%s\" begins with %.*s://; expected %s://%s%s%s", key,
		    BC_SPAN_ARG(url.scheme), first, second == first ? "" : " or ",
		    second == first ? "" : second, second == first ? "" : "://");
}

/* That no earlier section of the same kind has the same string. */
static void check_unique(const struct cfg_load *load, const struct cfg_instance *instance,
			 const char *key)
{
	const char *value = string_of(instance, key);

	for (const struct cfg_instance *other = load->instances; value != NULL && other != instance;
	     other = other->next) {
		const char *taken =
			other->section == instance->section ? string_of(other, key) : NULL;

		if (taken != NULL && strcmp(taken, value) == 0) {
			cfg_finding(
				instance->source.findings, instance->source.file,
				cfg_given_at(instance, key),
				"\"%s\" is the same as in the %s%s%s at %s:%u; expected a different one",
				key, CFG_SECTION_ARG(instance->section), other->source.file,
				other->at.line);
			return;
		}
	}
}

static void check_listen(const struct cfg_load *load, const struct cfg_instance *instance)
{
	const struct cfg_listen *listener = instance->object;
	const struct cfg_admin *admin = &load->cfg->admin;

	check_address(instance);
	check_pem(instance, "certificate");
	check_pem(instance, "key");
	if (cfg_given(instance, "certificate") != NULL && cfg_given(instance, "key") == NULL) {
		find_at(instance, "certificate",
			"\"certificate\" without \"key\"; expected both or none");
	}
	if (cfg_given(instance, "key") != NULL && cfg_given(instance, "certificate") == NULL) {
		find_at(instance, "key", "\"key\" without \"certificate\"; expected both or none");
	}
	/* the kernel would share the port between them without a word */
	if (admin->enabled && admin->port == listener->port &&
	    strcmp(admin->address, listener->address) == 0) {
		find_at(instance, "port",
			"\"address\" and \"port\" are those of [admin]; expected others");
	}
	for (const struct cfg_instance *at = load->instances; at != instance; at = at->next) {
		const struct cfg_listen *other = at->object;

		if (is(at, "listen") && other->port == listener->port &&
		    strcmp(other->address, listener->address) == 0) {
			cfg_finding(
				instance->source.findings, instance->source.file,
				cfg_given_at(instance, "port"),
				"\"address\" and \"port\" are those of the [[listen]] at %s:%u; expected others",
				at->source.file, at->at.line);
			return;
		}
	}
}

static void check_client_key(const struct cfg_load *load, const struct cfg_instance *instance)
{
	const struct cfg_client_key *key = instance->object;

	check_unique(load, instance, "name");
	check_unique(load, instance, "sha256");
	/* what stands there may be the key itself: never repeat it */
	if (key->sha256 != NULL &&
	    strspn(key->sha256, "0123456789abcdefABCDEF") != (size_t)2 * BC_SHA256_SIZE) {
		find_at(instance, "sha256",
			"\"sha256\" is no SHA-256; expected the 64 hexadecimal digits that "
			"\"backchannelctl key new\" prints");
	}
	if (key->upstream != NULL && cfg_upstream_find(load->cfg, key->upstream) == NULL) {
		cfg_finding(instance->source.findings, instance->source.file,
			    cfg_given_at(instance, "upstream"),
			    "there is no upstream \"%s\"; expected the name of an [[upstream]]",
			    cfg_quoted(key->upstream).text);
	}
}

static void check_assume(const struct cfg_instance *instance)
{
	const struct cfg_upstream *upstream = instance->object;
	enum trait trait;
	int32_t value;

	for (size_t i = 0; i < upstream->assume.count; i++) {
		if (trait_parse(bc_span_str(upstream->assume.items[i]), &trait, &value) != BC_OK) {
			find_at(instance, "assume",
				"\"assume\" holds what is no behaviour; expected NAME=yes or NAME=no, with names "
				"as backchannelctl upstreams shows them");
		}
	}
}

static void check_upstream(const struct cfg_load *load, const struct cfg_instance *instance)
{
	check_unique(load, instance, "name");
	check_scheme(instance, "url", "wss", "ws");
	check_scheme(instance, "proxy", "http", "http");
	check_assume(instance);
	check_pem(instance, "ca_file");
}

static void check_session(const struct cfg_instance *instance)
{
	const struct cfg_session *session = instance->object;

	if (session->backlog_low >= session->backlog_high) {
		find_at(instance,
			cfg_given(instance, "backlog_low") != NULL ? "backlog_low" : "backlog_high",
			"\"backlog_low\" is not below \"backlog_high\"; expected a smaller one");
	}
}

static void check_auth(const struct cfg_load *load, const struct cfg_instance *instance)
{
	const struct cfg_auth *auth = instance->object;

	if (auth->mode == CFG_AUTH_KEYS && load->cfg->client_key_count == 0) {
		find_at(instance, "mode",
			"\"mode\" is \"keys\" and there is no [[client_key]]; make one with \"backchannelctl key "
			"new NAME\"");
	}
}

/* Whether anybody may be guessed for. */
static bool is_guessed(const struct cfg *cfg)
{
	bool guessed = cfg->speculation.mode != CFG_SPEC_MODE_OFF;

	for (size_t i = 0; i < cfg->client_key_count; i++) {
		guessed = guessed || cfg->client_key[i].speculation > CFG_GUESSING_OFF;
	}
	for (size_t i = 0; i < cfg->upstream_count; i++) {
		guessed = guessed || cfg->upstream[i].speculation > CFG_GUESSING_OFF;
	}
	for (size_t i = 0; i < cfg->tool_count; i++) {
		guessed = guessed || cfg->tool[i].speculation > CFG_GUESSING_OFF;
	}
	return guessed;
}

static void check_reasoner(const struct cfg_load *load, const struct cfg_instance *instance)
{
	const struct cfg_reasoner *reasoner = instance->object;

	check_scheme(instance, "url", "https", "http");
	check_pem(instance, "ca_file");
	if (is_guessed(load->cfg) && load->cfg->speculation.reasoner == CFG_REASONER_TAGGED &&
	    reasoner->model == NULL) {
		find_at(instance, "model",
			"\"reasoner\" in [speculation] is \"tagged\" and no \"model\" is given; expected the name "
			"of a model of the endpoint");
	}
}

static void check_speculation(const struct cfg_instance *instance)
{
	const struct cfg_speculation *speculation = instance->object;

	if (speculation->kill_recover >= speculation->kill_share) {
		find_at(instance, "kill_recover",
			"\"kill_recover\" is not below \"kill_share\"; expected a smaller share, or the kill switch "
			"would flap");
	}
}

static void check_journal(const struct cfg_instance *instance)
{
	const struct cfg_journal *journal = instance->object;

	if (journal->secret_key.value != NULL &&
	    strlen(journal->secret_key.value) < SECRET_KEY_MIN) {
		find_at(instance, "secret_key",
			"the key that \"secret_key\" names is too short; expected 32 random characters "
			"or more");
	}
}

static void check_instance(struct cfg_load *load, const struct cfg_instance *instance)
{
	if (is(instance, "listen")) {
		check_listen(load, instance);
	} else if (is(instance, "admin")) {
		check_address(instance);
	} else if (is(instance, "speculation")) {
		check_speculation(instance);
	} else if (is(instance, "auth")) {
		check_auth(load, instance);
	} else if (is(instance, "client_key")) {
		check_client_key(load, instance);
	} else if (is(instance, "upstream")) {
		check_upstream(load, instance);
	} else if (is(instance, "session")) {
		check_session(instance);
	} else if (is(instance, "journal")) {
		check_journal(instance);
	} else if (is(instance, "reasoner")) {
		check_reasoner(load, instance);
	} else if (is(instance, "tools")) {
		check_pem(instance, "ca_file");
	} else if (is(instance, "tool")) {
		check_unique(load, instance, "name");
		cfg_check_tool(load, instance, instance->object);
	}
}

void cfg_check(struct cfg_load *load)
{
	const char *file = load->files[0].shown;

	if (load->cfg->listen_count == 0) {
		cfg_finding(&load->findings, file, file_start,
			    "there is no [[listen]]; expected at least one, or nobody can connect");
	}
	if (load->cfg->upstream_count == 0) {
		cfg_finding(&load->findings, file, file_start,
			    "there is no [[upstream]]; expected at least one provider");
	}
	for (const struct cfg_instance *at = load->instances; at != NULL; at = at->next) {
		check_instance(load, at);
	}
}
