// SPDX-License-Identifier: GPL-2.0-only
/*
 * A library for Python: packets are spoilt, run through a loaded program and read by the reference, a batch a call.
 * Packets of a batch lie in rows of ROW octets.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flow.h"
#include "reference.h"

#define ROW 2048
#define MOST_CHANGES 4

/* A packet, and how it is run. Python knows the same structure. */
struct spoilt {
	uint32_t length;
	uint32_t segments; /* of a GSO packet, else 0 */
	uint32_t told; /* the GSO packet says how many segments it is */
	uint32_t segment_size;
	int32_t result; /* of the run: 0, an errno, or enum broken_promise */
	struct meaning meaning;
};

/* What no program may do. */
enum broken_promise {
	WRONG_VERDICT = -1,
	CHANGED_FRAME = -2,
};

/* splitmix64 (Steele, Lea and Flood, 2014): the same seed, the same packets, on every machine. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint32_t below(uint64_t *state, uint32_t limit)
{
	return draw(state) % limit;
}

/* Where parsers go wrong: next to zero, to the signs, to the ends of lengths. */
static uint8_t odd_octet(uint64_t *state)
{
	static const uint8_t odd[] = { 0, 1, 4, 5, 6, 8, 14, 17, 19, 20, 40, 43, 44, 51, 58, 60, 127, 128, 132, 254, 255 };

	return odd[below(state, sizeof(odd))];
}

/* Most headers end within the first hundred octets: so do most changes. */
static uint32_t place(uint64_t *state, uint32_t length)
{
	uint32_t end = below(state, 4) && length > 100 ? 100 : length;

	return below(state, end);
}

static uint32_t move(uint8_t *frame, uint32_t length, uint64_t *state, int grow)
{
	uint32_t at = place(state, length), by = 1 + below(state, grow ? 16 : length - at);

	if (grow && length + by <= ROW) {
		memmove(frame + at + by, frame + at, length - at);
		return length + by;
	}
	if (grow || by == length)
		return length;
	memmove(frame + at, frame + at + by, length - at - by);
	return length - by;
}

static uint32_t change(uint8_t *frame, uint32_t length, uint64_t *state)
{
	uint32_t at = place(state, length);

	switch (below(state, 7)) {
	case 0:
		frame[at] ^= 1 << below(state, 8);
		return length;
	case 1:
		frame[at] = draw(state);
		return length;
	case 2:
	case 3:
		frame[at] = odd_octet(state);
		return length;
	case 4:
		return 1 + below(state, length);
	case 5:
		return move(frame, length, state, 1);
	default:
		return move(frame, length, state, 0);
	}
}

static uint16_t ether_type(const uint8_t *frame)
{
	return frame[12] << 8 | frame[13];
}

/* A test run takes an Ethernet header, and for a socket buffer a whole IP header behind an IP type. */
static int can_run(const uint8_t *frame, uint32_t length, int xdp)
{
	uint32_t least = 15;

	if (xdp || length < 14)
		return length >= 14;
	if (ether_type(frame) == 0x0800)
		least = 34;
	else if (ether_type(frame) == 0x86dd)
		least = 54;
	return length >= least;
}

/* Whether inner headers count in the programs that are run. */
int inside;

void read_spoilt(const uint8_t *frame, struct spoilt *packet, int network)
{
	struct reading reading = {
		.frame = frame,
		.length = packet->length,
		.has_ethernet = !network,
		.ether_type = ether_type(frame),
		.whole_length = packet->length,
		.segments = packet->segments ? packet->segments : 1,
		.segment_size = packet->segment_size,
		.inside = inside,
	};

	packet->meaning = read_packet(&reading);
}

/* Every fourth packet that is long enough is a GSO packet; every other of these does not tell its segments. */
static void add_segments(const uint8_t *frame, struct spoilt *packet, int network, uint64_t *state)
{
	uint32_t size = 1 + below(state, 64), payload, at;

	if (packet->meaning.outcome != PACKETS_PARSED || below(state, 4))
		return;
	packet->segment_size = size; /* what the headers are may depend on it */
	read_spoilt(frame, packet, network);
	at = packet->meaning.network_at + packet->meaning.dropped;
	if (packet->meaning.outcome != PACKETS_PARSED || packet->length <= at + packet->meaning.headers_length + size) {
		packet->segment_size = 0;
		return;
	}
	payload = packet->length - at - packet->meaning.headers_length;
	packet->segments = (payload + size - 1) / size;
	packet->told = below(state, 2);
}

/* Fill rows with spoilt packets, drawn from `bank`: rows and their lengths. */
void spoil(const uint8_t *bank, const uint32_t *lengths, uint32_t banked, uint64_t seed, int xdp, int network,
	   uint8_t *rows, struct spoilt *packets, uint32_t count)
{
	for (uint32_t i = 0; i < count;) {
		uint8_t *frame = rows + (size_t)i * ROW;
		uint32_t from = below(&seed, banked), changes = below(&seed, MOST_CHANGES + 1);
		struct spoilt packet = { .length = lengths[from] };

		memcpy(frame, bank + (size_t)from * ROW, packet.length);
		while (changes--)
			packet.length = change(frame, packet.length, &seed);
		if (!can_run(frame, packet.length, xdp))
			continue;
		read_spoilt(frame, &packet, network);
		if (!xdp)
			add_segments(frame, &packet, network, &seed);
		read_spoilt(frame, &packet, network);
		packets[i++] = packet;
	}
}

static int run(int program, const uint8_t *frame, struct spoilt *packet, uint32_t verdict)
{
	static uint8_t out[ROW];
	struct __sk_buff context = {
		.gso_segs = packet->told ? packet->segments : 0,
		.gso_size = packet->segment_size,
	};
	union bpf_attr attributes = {};

	attributes.test.prog_fd = program;
	attributes.test.data_in = (uintptr_t)frame;
	attributes.test.data_size_in = packet->length;
	attributes.test.data_out = (uintptr_t)out;
	attributes.test.data_size_out = sizeof(out);
	if (packet->segment_size) {
		attributes.test.ctx_in = (uintptr_t)&context;
		attributes.test.ctx_size_in = sizeof(context);
	}
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof(attributes)))
		return errno;
	if (attributes.test.retval != verdict)
		return WRONG_VERDICT;
	return attributes.test.data_size_out != packet->length || memcmp(out, frame, packet->length) ? CHANGED_FRAME : 0;
}

/* Run a batch: what came of each is in `result`. */
void run_batch(int program, const uint8_t *rows, struct spoilt *packets, uint32_t count, uint32_t verdict)
{
	for (uint32_t i = 0; i < count; i++)
		packets[i].result = run(program, rows + (size_t)i * ROW, &packets[i], verdict);
}
