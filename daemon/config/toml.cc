/*
 * The one file in C++.  The library is compiled in without exceptions, so nothing can be thrown through the C
 * callers; when memory runs out inside it the process aborts, which at start-up and reload is acceptable.
 */
#include "daemon/config/toml.h"

#define TOML_HEADER_ONLY        1
#define TOML_MAX_NESTED_VALUES  TOML_DEPTH_MAX
#define TOML_ENABLE_FORMATTERS  0
#include <toml++/toml.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace
{

struct child {
	const toml::key *key; /* nullptr in arrays */
	const toml::node *node;
};

toml_place place_of(const toml::source_region &source)
{
	return {source.begin.line, source.begin.column};
}

void set_error(toml_error *error, toml_place at, std::string_view message)
{
	size_t len = std::min(message.size(), sizeof(error->message) - 1);

	error->at = at;
	std::copy_n(message.data(), len, error->message);
	error->message[len] = '\0';
}

/*
 * The library's message without what it quotes from the value it stumbled over: that may be a secret which was
 * written where its reference belongs.
 */
void set_library_error(toml_error *error, const toml::parse_error &from)
{
	std::string_view text = from.description();
	size_t colon = text.find(": ");
	std::string_view scope = colon == text.npos ? "" : text.substr(0, colon + 2);
	std::string_view reason = colon == text.npos ? text : text.substr(colon + 2);
	std::string message{scope};

	reason = reason.substr(0, reason.find(", saw"));
	message += !reason.empty() && reason.front() == '\'' ? "the value cannot be understood" : reason;
	set_error(error, place_of(from.source()), message);
}

/*
 * Bounds the parts of a dotted key before the library sees them: it builds and tears down one table per part,
 * recursively, and knows no limit.  Strings and comments are skipped; what is inside a key that is not valid
 * TOML does not matter, because the library stops there.
 */
class key_guard
{
      public:
	explicit key_guard(std::string_view text) : text_(text)
	{
	}

	bool too_deep(toml_place *ret_at)
	{
		unsigned dots = 0;

		while (at_ < text_.size()) {
			char c = text_[at_];

			if (c == '"' || c == '\'') {
				skip_string(c);
				continue;
			}
			if (c == '#') {
				at_ = std::min(text_.find('\n', at_), text_.size());
				continue;
			}
			dots = c == '.' ? dots + 1 : std::string_view("\n=,[]{}").find(c) != text_.npos ? 0 : dots;
			if (dots >= TOML_DEPTH_MAX) {
				*ret_at = place();
				return true;
			}
			at_++;
		}
		return false;
	}

      private:
	void skip_string(char quote)
	{
		std::string_view fence = quote == '"' ? "\"\"\"" : "'''";
		bool many_lines = text_.substr(at_, 3) == fence;

		if (!many_lines) {
			fence = fence.substr(0, 1);
		}
		at_ += fence.size();
		while (at_ < text_.size() && text_.substr(at_, fence.size()) != fence) {
			if (text_[at_] == '\n' && !many_lines) {
				return;
			}
			at_ += quote == '"' && text_[at_] == '\\' ? 2 : 1;
		}
		at_ = std::min(at_ + fence.size(), text_.size());
	}

	toml_place place() const
	{
		std::string_view before = text_.substr(0, at_);
		size_t line_start = before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1;

		return {static_cast<unsigned>(std::count(before.begin(), before.end(), '\n') + 1),
			static_cast<unsigned>(at_ - line_start + 1)};
	}

	std::string_view text_;
	size_t at_ = 0;
};

class builder
{
      public:
	builder(cfg_arena *arena, toml_error *error) : arena_(arena), error_(error)
	{
	}

	/* Fill node from the library's; false: error_ says why not. */
	bool fill(toml_node *node, const toml::node &from, unsigned depth)
	{
		node->at = place_of(from.source());
		if (depth > TOML_DEPTH_MAX) {
			set_error(error_, node->at, "tables and arrays are nested too deeply");
			return false;
		}
		if (const toml::table *table = from.as_table()) {
			node->kind = TOML_TABLE;
			node->json = json_object();
			return fill_children(node, children_of(*table), depth);
		}
		if (const toml::array *array = from.as_array()) {
			node->kind = TOML_ARRAY;
			node->json = json_array();
			return fill_children(node, children_of(*array), depth);
		}
		fill_scalar(node, from);
		return node->json != nullptr;
	}

      private:
	static std::vector<child> children_of(const toml::table &table)
	{
		std::vector<child> children;

		for (auto &&[key, node] : table) {
			children.push_back({&key, &node});
		}
		/* The library sorts by name; findings and printed schemas follow the file. */
		std::sort(children.begin(), children.end(), [](const child &a, const child &b) {
			const toml::source_position &x = a.key->source().begin, &y = b.key->source().begin;

			return x.line != y.line ? x.line < y.line : x.column < y.column;
		});
		return children;
	}

	static std::vector<child> children_of(const toml::array &array)
	{
		std::vector<child> children;

		for (const toml::node &node : array) {
			children.push_back({nullptr, &node});
		}
		return children;
	}

	bool fill_children(toml_node *node, const std::vector<child> &children, unsigned depth)
	{
		node->count = children.size();
		node->children = static_cast<toml_node *>(
			cfg_arena_alloc(arena_, (children.size() + 1) * sizeof(toml_node)));
		if (node->json == nullptr || node->children == nullptr) {
			return false;
		}
		for (size_t i = 0; i < children.size(); i++) {
			toml_node *at = &node->children[i];

			/* a half-filled child still hands its tree to its parent, which the root frees */
			bool filled = fill(at, *children[i].node, depth + 1);
			bool linked = link(node, at, children[i].key);

			if (!filled || !linked) {
				return false;
			}
		}
		return true;
	}

	bool link(toml_node *parent, toml_node *node, const toml::key *key)
	{
		if (key == nullptr) {
			node->key_at = node->at;
			return json_array_append_new(parent->json, node->json) == 0;
		}
		node->key = cfg_arena_text(arena_, key->str().data(), key->str().size());
		node->key_at = place_of(key->source());
		if (key->str().find('\0') != std::string_view::npos) {
			json_decref(node->json);
			set_error(error_, node->key_at, "a key holds a NUL character");
			return false;
		}
		/* without its key the node would be lost to the tree: drop it here */
		if (node->key == nullptr) {
			json_decref(node->json);
			return false;
		}
		return json_object_set_new(parent->json, node->key, node->json) == 0;
	}

	static void fill_scalar(toml_node *node, const toml::node &from)
	{
		if (auto text = from.as_string()) {
			node->kind = TOML_STRING;
			node->json = json_stringn(text->get().data(), text->get().size());
		} else if (auto whole = from.as_integer()) {
			node->kind = TOML_WHOLE;
			node->json = json_integer(whole->get());
		} else if (auto boolean = from.as_boolean()) {
			node->kind = TOML_BOOLEAN;
			node->json = json_boolean(boolean->get());
		} else if (auto real = from.as_floating_point()) {
			node->kind = TOML_REAL;
			node->json = json_real(real->get());
		}
		if (node->json == nullptr) {
			node->kind = TOML_OTHER;
			node->json = json_null();
		}
	}

	cfg_arena *arena_;
	toml_error *error_;
};

} // namespace

extern "C" const toml_node *toml_parse(cfg_arena *arena, const char *text, size_t len, toml_error *reterr)
{
	std::string_view view(text, len);
	toml_node *root = static_cast<toml_node *>(cfg_arena_alloc(arena, sizeof(toml_node)));

	*reterr = toml_error{};
	if (root == nullptr) {
		return nullptr;
	}
	if (key_guard(view).too_deep(&reterr->at)) {
		set_error(reterr, reterr->at, "a dotted key has too many parts");
		return nullptr;
	}
	toml::parse_result parsed = toml::parse(view);
	if (!parsed) {
		set_library_error(reterr, parsed.error());
		return nullptr;
	}
	bool filled = builder(arena, reterr).fill(root, parsed.table(), 0);
	/* the arena owns the tree also when it is only half there */
	return cfg_arena_json(arena, root->json) != nullptr && filled ? root : nullptr;
}
