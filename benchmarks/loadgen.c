/* A closed-loop HTTP load generator: each connection sends the next request when its answer is complete.
 *
 *   loadgen HOST PORT CONNECTIONS SECONDS REQUEST_FILE   prints "<answers> <seconds>"
 *
 * "########" in the request, if it is there, becomes a number that is new in every request.
 * No pipelining. Every answer must be a 200 with a Content-Length; anything else ends the program with an error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define BUFFER 16384

struct connection { int fd; size_t filled; char buffer[BUFFER]; };

static struct connection connections[MAX_CONNECTIONS];
static char request[BUFFER];
static size_t request_size;
static char *serial; /* where in the request the number goes */
static unsigned serials;

static void fail(const char *why) { perror(why); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ask(struct connection *c) {
    c->filled = 0;
    if (serial) {
        char digits[9];
        snprintf(digits, sizeof digits, "%08x", serials++);
        memcpy(serial, digits, 8);
    }
    if (write(c->fd, request, request_size) != (ssize_t)request_size) fail("write");
}

/* Whether the answer in the buffer is complete. */
static int complete(struct connection *c) {
    c->buffer[c->filled] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp(c->buffer, "HTTP/1.1 200", 12)) { fprintf(stderr, "answer: %s\n", c->buffer); exit(1); }
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    if (!length) { fprintf(stderr, "no Content-Length: %s\n", c->buffer); exit(1); }
    size_t size = (size_t)(end + 4 - c->buffer) + strtoul(length + 17, NULL, 10);
    return c->filled >= size;
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: loadgen HOST PORT CONNECTIONS SECONDS REQUEST_FILE\n"); return 2; }
    int count = atoi(argv[3]);
    if (count < 1 || count > MAX_CONNECTIONS) { fprintf(stderr, "1 to %d connections\n", MAX_CONNECTIONS); return 2; }
    FILE *file = fopen(argv[5], "rb");
    if (!file) fail("request file");
    request_size = fread(request, 1, sizeof request, file);
    fclose(file);
    serial = memmem(request, request_size, "########", 8);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) { fprintf(stderr, "not an IPv4 address\n"); return 2; }
    int poll = epoll_create1(0), one = 1;
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
        ask(c);
    }
    double begin = now(), end = begin + atof(argv[4]), last = begin;
    unsigned long answers = 0;
    while (last < end) {
        struct epoll_event events[MAX_CONNECTIONS];
        int ready = epoll_wait(poll, events, count, 1000);
        if (ready < 0) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t got = read(c->fd, c->buffer + c->filled, BUFFER - 1 - c->filled);
            if (got <= 0) fail("read");
            c->filled += (size_t)got;
            if (complete(c)) { answers++; ask(c); }
        }
        last = now();
    }
    printf("%lu %.6f\n", answers, last - begin);
    return 0;
}
