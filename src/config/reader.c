/* SPDX-License-Identifier: Apache-2.0 */
/* libconfuse reads the text. All values are strings to it, so that a wrong one does not end the reading; callbacks note each value
 * with its line. A name that it does not know does end the reading, so it is told the name and reads again: so all unknown names are
 * found, not only the first. */
#include "config/internal.h"

#include <confuse.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define LEARNED_MAX 32u /* unknown names; a file with more is something else than mcomp.cfg */

enum shape { SHAPE_KEY, SHAPE_SECTION, SHAPE_TITLED };

/** A name of the file that the schema does not have. */
struct learned {
    char *name;            /* owned */
    const char *inside;    /* borrowed: the learned section that it stands in; NULL otherwise */
    enum schema_section section; /* that it stands in; SECTION_UNKNOWN if inside is set */
    enum shape shape;
    uint32_t line;
};

/** Why libconfuse ended. */
enum failure { FAILURE_NONE, FAILURE_UNKNOWN_NAME, FAILURE_NO_EQUAL, FAILURE_NO_BRACE, FAILURE_OTHER };

struct reader {
    const struct clean_text *clean;
    struct reading *reading;
    struct problems *problems;
    struct learned learned[LEARNED_MAX];
    size_t learned_count;
    bool out_of_memory;
    /* of the last attempt: */
    enum failure failure;
    char *name; /* owned; what the message is about, or NULL */
    char section_name[64];
    uint32_t line;
    char message[128];
};

/* libconfuse has one lexer for the whole process, and its callbacks carry no pointer of ours. The lock guards both. */
static pthread_mutex_t one_reader = PTHREAD_MUTEX_INITIALIZER;
static struct reader *the_reader;

/** Make room for one more element. */
static bool grow(void **items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return true;
    size_t more = *capacity ? *capacity * 2 : 16;
    void *bigger = realloc(*items, more * item_bytes);
    if (!bigger)
        return false;
    *items = bigger;
    *capacity = more;
    return true;
}

static enum schema_section section_of(const char *name)
{
    return strcmp(name, "root") == 0 ? SECTION_ROOT : schema_find_section(name);
}

/* ---- callbacks ---- */

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct reading *reading = the_reader->reading;
    enum schema_section section = section_of(cfg_name(cfg));
    const struct schema_key *key = schema_find_key(section, cfg_opt_name(opt));
    MC_ASSERT(key);
    char *copy = strdup(value);
    void *items = reading->settings;
    if (!copy || !grow(&items, reading->setting_count, &reading->setting_capacity, sizeof *reading->settings)) {
        free(copy);
        the_reader->out_of_memory = true;
        return -1;
    }
    reading->settings = items;
    reading->settings[reading->setting_count++] = (struct setting){
        .key = key,
        .value = copy,
        .section = section == SECTION_ROOT ? IN_ROOT : (uint32_t)reading->section_count,
        .line = (uint32_t)cfg->line,
    };
    *(const char **)result = value;
    return 0;
}

/** A section was read to its end. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
    (void)cfg;
    struct reading *reading = the_reader->reading;
    const char *title = cfg_title(cfg_opt_getnsec(opt, 0));
    char *copy = title ? strdup(title) : NULL;
    void *items = reading->sections;
    if ((title && !copy) || !grow(&items, reading->section_count, &reading->section_capacity, sizeof *reading->sections)) {
        free(copy);
        the_reader->out_of_memory = true;
        return -1;
    }
    reading->sections = items;
    MC_ASSERT(reading->section_count < the_reader->clean->brace_count);
    reading->sections[reading->section_count] = (struct section){
        .kind = schema_find_section(cfg_opt_name(opt)),
        .title = copy,
        .line = the_reader->clean->brace_lines[reading->section_count], /* no nesting: the n-th '{' belongs to the n-th '}' */
    };
    reading->section_count++;
    /* All is noted. Without this the library would look for the title of each new section among all before it, and would replace
     * a section by a later one of the same title. */
    if (title)
        cfg_opt_rmnsec(opt, 0);
    return 0;
}

static PRINTF_LIKE(2, 0) void on_error(cfg_t *cfg, const char *format, va_list args)
{
    struct reader *reader = the_reader;
    if (reader->failure != FAILURE_NONE)
        return;
    static const struct {
        const char *format;
        enum failure failure;
    } known[] = {
        {"no such option '%s'", FAILURE_UNKNOWN_NAME},
        {"missing equal sign after option '%s'", FAILURE_NO_EQUAL},
        {"missing opening brace for section '%s'", FAILURE_NO_BRACE},
    };
    reader->failure = FAILURE_OTHER;
    reader->line = (uint32_t)cfg->line;
    snprintf(reader->section_name, sizeof reader->section_name, "%s", cfg_name(cfg));
    va_list again;
    va_copy(again, args);
    vsnprintf(reader->message, sizeof reader->message, format, args);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(format, known[i].format) == 0) {
            reader->failure = known[i].failure;
            reader->name = strdup(va_arg(again, const char *));
            reader->out_of_memory = reader->out_of_memory || !reader->name;
        }
    }
    va_end(again);
}

/* ---- one attempt ---- */

/* Room for the options of one section: those of the schema, the sections, the learned, the end mark. */
#define OPTIONS_MAX (SCHEMA_KEYS + SECTION_UNKNOWN + LEARNED_MAX + 1)

static cfg_opt_t key_option(const char *name, cfg_callback_t callback)
{
    return (cfg_opt_t)CFG_STR_CB(name, NULL, CFGF_NODEFAULT, callback);
}

static cfg_opt_t section_option(const char *name, cfg_opt_t *options, bool titled)
{
    cfg_opt_t option = CFG_SEC(name, options, titled ? CFGF_MULTI | CFGF_TITLE : CFGF_NODEFAULT);
    option.validcb = on_section;
    return option;
}

/** The keys of a known section and, among them, what was learned there; or of the learned section `inside`. */
static size_t fill_keys(const struct reader *reader, cfg_opt_t *options, enum schema_section section, const char *inside)
{
    size_t count = 0;
    for (size_t i = 0; i < SCHEMA_KEYS; i++) {
        if (schema_keys[i].section == section)
            options[count++] = key_option(schema_keys[i].name, on_value);
    }
    for (size_t i = 0; i < reader->learned_count; i++) {
        const struct learned *l = &reader->learned[i];
        if (l->section == section && l->inside == inside && l->shape == SHAPE_KEY)
            options[count++] = key_option(l->name, NULL);
    }
    options[count] = (cfg_opt_t)CFG_END();
    return count;
}

/** Let libconfuse read the text once. Returns its code. */
static int attempt(struct reader *reader)
{
    enum { SECTIONS = SECTION_UNKNOWN + LEARNED_MAX };
    cfg_opt_t(*options)[OPTIONS_MAX] = calloc(SECTIONS, sizeof *options);
    if (!options) {
        reader->out_of_memory = true;
        return CFG_FAIL;
    }
    cfg_opt_t *root = options[SECTION_ROOT];
    size_t count = fill_keys(reader, root, SECTION_ROOT, NULL);
    for (enum schema_section s = SECTION_NODE; s < SECTION_UNKNOWN; s++) {
        fill_keys(reader, options[s], s, NULL);
        root[count++] = section_option(schema_section_name(s), options[s], s == SECTION_NODE);
    }
    for (size_t i = 0; i < reader->learned_count; i++) {
        const struct learned *l = &reader->learned[i];
        if (l->shape == SHAPE_KEY)
            continue;
        fill_keys(reader, options[SECTION_UNKNOWN + i], SECTION_UNKNOWN, l->name);
        root[count++] = section_option(l->name, options[SECTION_UNKNOWN + i], l->shape == SHAPE_TITLED);
    }
    root[count] = (cfg_opt_t)CFG_END();
    int rc = CFG_FAIL;
    cfg_t *cfg = cfg_init(root, CFGF_NONE);
    if (cfg) {
        cfg_set_error_function(cfg, on_error);
        rc = cfg_parse_buf(cfg, reader->clean->text);
        cfg_free(cfg);
    }
    free(options);
    reader->out_of_memory = reader->out_of_memory || !cfg || (rc != CFG_SUCCESS && reader->failure == FAILURE_NONE);
    return rc;
}

/* ---- what to make of a failure ---- */

static struct learned *find_learned(struct reader *reader, enum schema_section section, const char *name)
{
    for (size_t i = 0; i < reader->learned_count; i++) {
        struct learned *l = &reader->learned[i];
        bool here = l->section == section && (!l->inside || strcmp(l->inside, reader->section_name) == 0);
        if (here && strcmp(l->name, name) == 0)
            return l;
    }
    return NULL;
}

/** Note an unknown name. False if reading again would not help. */
static bool learn(struct reader *reader)
{
    enum schema_section section = section_of(reader->section_name);
    struct learned *around = section == SECTION_UNKNOWN ? find_learned(reader, SECTION_ROOT, reader->section_name) : NULL;
    if (section == SECTION_UNKNOWN && !around)
        return false;
    if (reader->learned_count == LEARNED_MAX || find_learned(reader, section, reader->name))
        return false;
    reader->learned[reader->learned_count++] = (struct learned){
        .name = reader->name, .inside = around ? around->name : NULL, .section = section, .shape = SHAPE_KEY, .line = reader->line};
    reader->name = NULL;
    /* libconfuse takes any section of this name for the whole file, and drops its lexer when it frees one. */
    return strcmp(reader->learned[reader->learned_count - 1].name, "root") != 0;
}

/** An unknown name is not a key, but a section, perhaps with a title. False if it is known, or neither. */
static bool learn_shape(struct reader *reader, enum shape from, enum shape to)
{
    struct learned *l = find_learned(reader, section_of(reader->section_name), reader->name);
    if (!l || l->shape != from || l->section != SECTION_ROOT)
        return false;
    l->shape = to;
    return true;
}

/** The attempt failed. True: try again; false: a syntax error ends the reading. */
static bool recover(struct reader *reader)
{
    char quoted[TEXT_QUOTE_BYTES];
    const char *name = reader->name ? text_quote(reader->name, quoted) : "";
    switch (reader->failure) {
    case FAILURE_UNKNOWN_NAME:
        if (learn(reader))
            return true;
        if (reader->learned_count == LEARNED_MAX)
            problems_add(reader->problems, reader->line, "more than %u unknown names: is this a mcomp.cfg?", LEARNED_MAX);
        return false;
    case FAILURE_NO_EQUAL:
        if (learn_shape(reader, SHAPE_KEY, SHAPE_SECTION))
            return true;
        problems_add(reader->problems, reader->line, "%s needs a value: write %s = VALUE", name, reader->name);
        return false;
    case FAILURE_NO_BRACE:
        if (learn_shape(reader, SHAPE_SECTION, SHAPE_TITLED))
            return true;
        problems_add(reader->problems, reader->line, "%s is a section: write %s { KEY = VALUE ... }", name,
                     strcmp(reader->name, "node") == 0 ? "node I" : reader->name);
        return false;
    case FAILURE_OTHER:
    case FAILURE_NONE:
        break;
    }
    if (strstr(reader->message, "missing title"))
        problems_add(reader->problems, reader->line, "a node section needs the node's number: write node 0 { address = \"HOST:PORT\" }");
    else if (strstr(reader->message, "premature end"))
        problems_add(reader->problems, reader->line, "the file ends in the middle of a setting: write KEY = VALUE, or NAME { ... }");
    else
        problems_add(reader->problems, reader->line, "%s: write KEY = VALUE, or NAME { ... }", reader->message);
    return false;
}

static void report_learned(const struct reader *reader)
{
    for (size_t i = 0; i < reader->learned_count; i++) {
        const struct learned *l = &reader->learned[i];
        if (l->inside)
            continue; /* the section is wrong already */
        char quoted[TEXT_QUOTE_BYTES], hint[ERR_TEXT_BYTES - TEXT_QUOTE_BYTES - 64];
        text_quote(l->name, quoted);
        schema_suggest(l->section, l->name, l->shape != SHAPE_KEY, hint, sizeof hint);
        if (l->section == SECTION_ROOT)
            problems_add(reader->problems, l->line, "unknown %s %s: %s", l->shape == SHAPE_KEY ? "key" : "section", quoted, hint);
        else
            problems_add(reader->problems, l->line, "unknown key %s in section %s: %s", quoted, schema_section_name(l->section), hint);
    }
}

static void read_all(struct reader *reader)
{
    for (;;) {
        if (attempt(reader) == CFG_SUCCESS) {
            reader->reading->complete = true;
            return;
        }
        if (reader->out_of_memory || !recover(reader))
            return;
        reader_free(reader->reading);
        free(reader->name);
        reader->name = NULL;
        reader->failure = FAILURE_NONE;
    }
}

enum mcomp_status reader_read(const struct clean_text *clean, struct reading *reading, struct problems *problems, struct err *err)
{
    struct reader reader = {.clean = clean, .reading = reading, .problems = problems};
    *reading = (struct reading){0};
    /* In the C locale libconfuse's messages are what on_error() compares them with. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    locale_t callers = uselocale(c_locale);
    pthread_mutex_lock(&one_reader);
    the_reader = &reader;
    read_all(&reader);
    the_reader = NULL;
    pthread_mutex_unlock(&one_reader);
    uselocale(callers);
    freelocale(c_locale);
    report_learned(&reader);
    for (size_t i = 0; i < reader.learned_count; i++)
        free(reader.learned[i].name);
    free(reader.name);
    if (!reader.out_of_memory)
        return MCOMP_OK;
    reader_free(reading);
    return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
}

void reader_free(struct reading *reading)
{
    for (size_t i = 0; i < reading->setting_count; i++)
        free(reading->settings[i].value);
    for (size_t i = 0; i < reading->section_count; i++)
        free(reading->sections[i].title);
    free(reading->settings);
    free(reading->sections);
    *reading = (struct reading){0};
}
