/* What the two clients of C share; the protocol of lines is in scenarios.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL, PROTOCOLS, FIRST, COUNT, CODE, REASON, FIELDS };
enum { NO_CODE = 1005 };

static char line[65536];
static char *fields[FIELDS];

static int read_fields(void) {
    if (!fgets(line, sizeof line, stdin))
        return 0;
    line[strcspn(line, "\n")] = 0;
    char *rest = line;
    for (int at = 0; at < FIELDS; at++)
        fields[at] = rest ? strsep(&rest, "\t") : "";
    return 1;
}

static void print_text(const char *name, const char *text) {
    printf(", \"%s\": ", name);
    if (!text) {
        printf("null");
        return;
    }
    putchar('"');
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        if (*at < ' ' || *at == '"' || *at == '\\')
            printf("\\u%04x", *at);
        else
            putchar(*at);
    putchar('"');
}

static void print_number(const char *name, double value) { printf(", \"%s\": %.9g", name, value); }

/* A line of JSON is begun by its first field, a name nobody reads, so that every other may begin with a comma. */
static void begin_line(void) { printf("{\"client\": \"c\""); }

static void end_line(void) {
    printf("}\n");
    fflush(stdout);
}
