/* What an operator reads about the options: the commented sample and the manual, from the table alone. */
#include "daemon/config/print.h"
#include "daemon/config/schema.h"
#include "daemon/config/value.h"

#define LINE_WIDTH 100 /* columns of the sample's comments */

/* Values the sample shows for options without a default; active ones are not commented out. */
struct example {
	const char *section, *key;
	const char *toml;
	bool active;
};

#define ORDER_SCHEMA                                                              \
	"'{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"string\"}}," \
	"\"required\":[\"order\"]}'"

static const struct example examples[] = {
	{"listen", "certificate", "\"fullchain.pem\"", false},
	{"listen", "key", "\"privkey.pem\"", false},
	{"auth", "mode", "\"open\"", true},
	{"client_key", "name", "\"frontdesk\"", false},
	{"client_key", "sha256",
	 "\"0000000000000000000000000000000000000000000000000000000000000000\"", false},
	{"client_key", "upstream", "\"default\"", false},
	{"upstream", "key", "\"env:OPENAI_API_KEY\"", true},
	{"upstream", "model", "\"gpt-realtime\"", false},
	{"upstream", "ca_file", "\"provider-ca.pem\"", false},
	{"upstream", "proxy", "\"http://proxy.example:3128\"", false},
	{"upstream", "assume", "[\"inline_audio=no\"]", false},
	{"session", "record", "\"/var/lib/backchannel/calls\"", false},
	{"tools", "ca_file", "\"tools-ca.pem\"", false},
	{"reasoner", "key", "\"env:OPENAI_API_KEY\"", false},
	{"reasoner", "model", "\"gpt-4.1-mini\"", false},
	{"reasoner", "ca_file", "\"reasoner-ca.pem\"", false},
	{"tool", "name", "\"cancel_order\"", false},
	{"tool", "description", "\"Cancels an order that has not been shipped.\"", false},
	{"tool", "parameters", ORDER_SCHEMA, false},
	{"tool", "request",
	 "{ method = \"POST\", url = \"https://shop.example/orders/{order}/cancel\", "
	 "headers = { Authorization = \"credential:shop\" }, body = '{\"reason\": \"asked by phone\"}' }",
	 false},
	{"tool", "filler", "\"One moment, I am looking that up.\"", false},
	{"tool", "tags", "[\"orders\"]", false},
	{"tool", "status",
	 "{ method = \"GET\", url = \"https://shop.example/calls/{idempotency_key}\" }", false},
	{"tool", "warmup", "{ method = \"GET\", url = \"https://shop.example/\" }", false},
	{"tool", "undo",
	 "{ method = \"POST\", url = \"https://shop.example/orders/{args.order}/reopen\" }", false},
	{"journal", "secret_key", "\"credential:journal\"", false},
	{"tool", "secret_arguments", "[\"order\"]", false},
	{"tool", "withheld_arguments", "[]", false},
};

/* Sections the sample leaves commented out as a whole: their needed options are the operator's own. */
static bool is_commented(const struct cfg_section *section)
{
	return strcmp(section->name, "client_key") == 0 || strcmp(section->name, "tool") == 0;
}

static const struct example *example_find(const struct cfg_option *option)
{
	for (size_t i = 0; i < BC_ARRAY_LEN(examples); i++) {
		if (strcmp(examples[i].section, option->section) == 0 &&
		    strcmp(examples[i].key, option->key) == 0) {
			return &examples[i];
		}
	}
	return NULL;
}

static bool has_default(const struct cfg_option *option)
{
	return option->def != NULL && option->def != cfg_needed;
}

/* Prose as "# " lines of at most LINE_WIDTH columns. */
static void put_comment(struct cfg_printer *printer, const char *text)
{
	while (*text != '\0') {
		size_t len = strlen(text);

		if (len > LINE_WIDTH - 2) {
			len = LINE_WIDTH - 2;
			while (len > 1 && text[len] != ' ') {
				len--;
			}
		}
		cfg_putf(printer, "# %.*s\n", (int)len, text);
		text += len;
		text += strspn(text, " ");
	}
}

/* The default in TOML syntax: bare where the type has no quotes. */
static void put_default(struct cfg_printer *printer, const struct cfg_option *option)
{
	bool bare = option->type == CFG_TYPE_BOOL || option->type == CFG_TYPE_COUNT ||
		    option->type == CFG_TYPE_PORT;

	cfg_putf(printer, bare ? "%s" : "\"%s\"", option->def);
}

/* What an option takes, in half a sentence: type or words, range, default, reload class. */
static void put_facts(struct cfg_printer *printer, const struct cfg_option *option)
{
	struct cfg_range_text range = cfg_range_text(option);

	cfg_put(printer, cfg_type_is_choice(option->type) ? cfg_words_text(option->type).text
							  : cfg_type_text(option->type));
	cfg_putf(printer, "%s%s", range.text[0] == '\0' ? "" : ", ", range.text);
	/* the unit says something only where the value itself has none */
	if (option->type == CFG_TYPE_COUNT && option->unit[0] != '\0') {
		cfg_putf(printer, " (%s)", option->unit);
	}
	if (has_default(option)) {
		cfg_put(printer, "; default ");
		put_default(printer, option);
	} else {
		cfg_put(printer, option->def == NULL ? "; may be absent" : "; needed");
	}
	cfg_put(printer, option->restart ? "; a change needs a restart" : "");
}

/* The same as one line of text, for a comment. */
static void put_facts_comment(struct cfg_printer *printer, const struct cfg_option *option)
{
	struct bc_buf text;
	struct cfg_printer facts = {.out = &text};

	bc_buf_init(&text, 1024);
	cfg_put(&facts, "Takes ");
	put_facts(&facts, option);
	cfg_put(&facts, ".");
	if (facts.err == BC_OK) {
		facts.err = bc_buf_put(&text, "", 1);
	}
	if (facts.err == BC_OK) {
		put_comment(printer, bc_buf_span(&text).ptr);
	} else if (printer->err == BC_OK) {
		printer->err = facts.err;
	}
	bc_buf_release(&text);
}

static void put_sample_option(struct cfg_printer *printer, const struct cfg_option *option)
{
	const struct example *example = example_find(option);

	BC_BUG_ON(example == NULL && !has_default(option));
	cfg_put(printer, "\n");
	put_comment(printer, option->help);
	put_facts_comment(printer, option);
	cfg_putf(printer, "%s%s = ", example != NULL && example->active ? "" : "#", option->key);
	if (example != NULL) {
		cfg_put(printer, example->toml);
	} else {
		put_default(printer, option);
	}
	cfg_put(printer, "\n");
}

static const char sample_head[] =
	"# Configuration of backchanneld, see backchannel.toml(5).\n"
	"#\n"
	"# Every option is here with its default or, where it has none, an example. Lines that begin with\n"
	"# \"# \" are prose; remove the # from any other line to set the option in the section above it.\n"
	"# What is set already is the least a gateway needs: a listener, which here is reached from this\n"
	"# machine only and hence open to everybody on it, and a provider with its API key taken from the\n"
	"# environment. Before it listens on another address, give it a certificate, set mode in [auth] to\n"
	"# \"keys\" and make a key for each client with: backchannelctl key new NAME\n"
	"#\n"
	"# Secrets are never written here, only where they are: \"file:PATH\", \"env:NAME\", or\n"
	"# \"credential:NAME\" for a systemd unit with LoadCredential=. Relative paths are relative to the\n"
	"# directory of the file they stand in. Check a change with: backchanneld --check\n"
	"\n"
	"# More files whose sections are added to these: paths, or patterns with *, ? and [].\n"
	"#include = [\"tools.d/*.toml\"]\n";

enum bc_err cfg_print_sample(struct bc_buf *out)
{
	struct cfg_printer printer = {.out = out};

	cfg_put(&printer, sample_head);
	for (size_t i = 0; i < cfg_section_count; i++) {
		const struct cfg_section *section = &cfg_sections[i];

		cfg_put(&printer, "\n");
		put_comment(&printer, section->help);
		cfg_putf(&printer, "%s%s%s%s\n", is_commented(section) ? "#" : "",
			 CFG_SECTION_ARG(section));
		for (size_t row = section->first; row < section->first + section->count; row++) {
			put_sample_option(&printer, &cfg_options[row]);
		}
	}
	return printer.err;
}

/* Text in which scdoc finds no markup. */
static void put_escaped(struct cfg_printer *printer, const char *text)
{
	for (; *text != '\0'; text++) {
		cfg_putf(printer, strchr("\\_*[]<>#|", *text) != NULL ? "\\%c" : "%c", *text);
	}
}

static void put_manual_option(struct cfg_printer *printer, const struct cfg_option *option)
{
	struct bc_buf text;
	struct cfg_printer facts = {.out = &text};

	bc_buf_init(&text, 1024);
	put_facts(&facts, option);
	if (facts.err == BC_OK) {
		facts.err = bc_buf_put(&text, "", 1);
	}
	cfg_put(printer, "\n*");
	put_escaped(printer, option->key);
	cfg_put(printer, "*: ");
	if (facts.err == BC_OK) {
		put_escaped(printer, bc_buf_span(&text).ptr);
	} else if (printer->err == BC_OK) {
		printer->err = facts.err;
	}
	cfg_put(printer, "\n\t");
	put_escaped(printer, option->help);
	cfg_put(printer, "\n");
	bc_buf_release(&text);
}

enum bc_err cfg_print_manual(struct bc_buf *out)
{
	struct cfg_printer printer = {.out = out};

	for (size_t i = 0; i < cfg_section_count; i++) {
		const struct cfg_section *section = &cfg_sections[i];

		cfg_put(&printer, i == 0 ? "## " : "\n## ");
		cfg_putf(&printer, "%s%s%s", section->many ? "[[" : "[", section->name,
			 section->many ? "]]" : "]");
		cfg_put(&printer, "\n\n");
		put_escaped(&printer, section->help);
		cfg_put(&printer, "\n");
		for (size_t row = section->first; row < section->first + section->count; row++) {
			put_manual_option(&printer, &cfg_options[row]);
		}
	}
	return printer.err;
}
