#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/command.h"
#include "core/base/option.h"
#include "report/format.h"
#include "report/rows.h"
#include "report/table.h"

static const char usage[] = "hylas report DB [TABLE] [--format F] [--sweep NAME] [-o FILE]";

struct request {
    const char *db, *sweep, *file; /* sweep NULL: all; file NULL: standard output */
    const struct hy_table *table;
    const struct hy_format *format;
    int list;
};

static const char *get_table_name(size_t i)
{
    return hy_tables[i] ? hy_tables[i]->name : NULL;
}

static const char *get_format_name(size_t i)
{
    return hy_formats[i].name;
}

/* The index at which get_name() gives name; get_name() gives NULL behind the last. */
static int find_name(const char *kind, const char *name, const char *(*get_name)(size_t i),
                     size_t *index, struct hy_err *e)
{
    size_t count = 0;
    while (get_name(count) && strcmp(get_name(count), name) != 0)
        count++;
    if (get_name(count)) {
        *index = count;
        return 0;
    }
    const char **names = calloc(count + 1, sizeof *names);
    for (size_t i = 0; names && i < count; i++)
        names[i] = get_name(i);
    const int rc = names ? hy_refuse_name((struct hy_mark){0}, kind, name, names, count, e)
                         : hy_fail_memory(e);
    free(names);
    return rc;
}

static int refuse_plot(const struct request *r, struct hy_err *e)
{
    struct hy_buf names = {0};
    for (int i = 0; hy_tables[i]; i++)
        if (hy_tables[i]->plots)
            hy_buf_printf(&names, "%s%s", names.size ? ", " : "", hy_tables[i]->name);
    const int rc =
        hy_buf_failed(&names)
            ? hy_fail_memory(e)
            : hy_fail(e, HY_E_USAGE, "table %s has no plot for format %s; those with one: %s",
                      r->table->name, r->format->name, names.data);
    hy_buf_release(&names);
    return rc;
}

static int read_arguments(int argc, char **argv, struct request *r, struct hy_err *e)
{
    static const struct option options[] = {
        {"format", required_argument, NULL, 'f'},
        {"sweep", required_argument, NULL, 's'},
        {"output", required_argument, NULL, 'o'},
        {"list", no_argument, NULL, 'l'},
        {0},
    };
    const char *table = "ratio-vs-recall";
    size_t format = 0, found = 0;
    int option, rc = 0;
    hy_args_begin();
    while (!rc && (option = hy_args_next(argc, argv, ":f:s:o:l", options, e)) != -1) {
        switch (option) {
        case 'f':
            rc = find_name("format", optarg, get_format_name, &format, e);
            break;
        case 's':
            r->sweep = optarg;
            break;
        case 'o':
            r->file = optarg;
            break;
        case 'l':
            r->list = 1;
            break;
        default:
            rc = HY_E_USAGE;
        }
    }
    if (rc || r->list)
        return rc;
    r->format = &hy_formats[format];
    if (argc - optind > 2)
        return hy_fail(e, HY_E_USAGE, "unexpected argument '%s'; usage: %s", argv[optind + 2],
                       usage);
    if (argc - optind == 2)
        table = argv[--argc];
    rc = hy_args_one(argc, argv, "the database", usage, &r->db, e);
    if (!rc)
        rc = find_name("table", table, get_table_name, &found, e);
    if (rc)
        return rc;
    r->table = hy_tables[found];
    return r->format->draws && !r->table->plots ? refuse_plot(r, e) : 0;
}

static int check_sweep(struct hy_store *store, const char *name, struct hy_err *e)
{
    struct hy_rows rows;
    int rc = hy_rows_load(store, "SELECT name FROM sweep ORDER BY name", NULL, &rows, e);
    if (rc)
        return rc;
    int found = 0;
    for (int i = 0; i < rows.count; i++)
        found |= !strcmp(rows.values[i], name);
    if (!found)
        rc = hy_refuse_name((struct hy_mark){0}, "sweep", name, (const char *const *)rows.values,
                            (size_t)rows.count, e);
    hy_rows_release(&rows);
    return rc;
}

static int make(const struct request *r, struct hy_buf *out, struct hy_err *e)
{
    struct hy_store *store;
    struct hy_grid grid = {0};
    int rc = hy_store_open(r->db, HY_STORE_READ, &store, e);
    if (rc)
        return rc;
    /* One transaction: a table of several queries shows one moment of a sweep that goes on. */
    rc = hy_store_query(store, "BEGIN", 0, NULL, NULL, NULL, e);
    if (!rc && r->sweep)
        rc = check_sweep(store, r->sweep, e);
    if (!rc)
        rc = r->table->fill(store, r->sweep, &grid, e);
    if (!rc)
        rc = hy_format_write(r->format, &grid, out, e);
    hy_grid_release(&grid);
    hy_store_close(store);
    return rc;
}

static int write_out(const char *path, const struct hy_buf *text, struct hy_err *e)
{
    FILE *file = path ? fopen(path, "w") : stdout;
    const char *name = path ? path : "standard output";
    if (!file)
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", name);
    int failed = fwrite(text->data, 1, text->size, file) != text->size;
    failed |= fflush(file) != 0;
    if (failed)
        hy_fail_errno(e, HY_E_ENV, "cannot write %s", name);
    if (path && fclose(file) != 0 && !failed)
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", name);
    return failed ? HY_E_ENV : 0;
}

static void list(struct hy_buf *out)
{
    hy_buf_text(out, "tables\n");
    for (int i = 0; hy_tables[i]; i++)
        hy_buf_printf(out, "  %-20s %s\n", hy_tables[i]->name, hy_tables[i]->summary);
    hy_buf_text(out, "formats\n");
    for (int i = 0; hy_formats[i].name; i++)
        hy_buf_printf(out, "  %-20s %s\n", hy_formats[i].name, hy_formats[i].summary);
}

static int run(int argc, char **argv, struct hy_err *e)
{
    struct request request = {0};
    struct hy_buf out = {0};
    int rc = read_arguments(argc, argv, &request, e);
    if (!rc && request.list)
        list(&out);
    else if (!rc)
        rc = make(&request, &out, e);
    if (!rc)
        rc = write_out(request.file, &out, e);
    hy_buf_release(&out);
    return rc;
}

const struct hy_command hy_command_report = {
    .name = "report",
    .usage = usage,
    .summary = "turns a database into tables and plots",
    .help = "  TABLE            what to show; ratio-vs-recall unless given\n"
            "  -f, --format F   text, md, csv, latex, html or svg; text unless given\n"
            "  -s, --sweep NAME only the runs of that sweep\n"
            "  -o, --output FILE  write there instead of to standard output\n"
            "  -l, --list       list the tables and the formats\n",
    .run = run,
};
