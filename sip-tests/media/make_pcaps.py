#!/usr/bin/env python3
"""Writes the RTP captures that the scenarios play. Run in this directory; the files are committed, byte for byte what this writes.

tone_440_pcmu.pcap  5 s of a 440 Hz sine, peak 10000 of 32768, G.711 mu-law, 20 ms a packet (RFC 3551 4.5.14)
dtmf_12hash.pcap    0.5 s of the tone, then 1, 2 and # as telephone-events of payload type 101 (RFC 4733 2.5):
                    100 ms each, 60 ms apart, three end packets, one timestamp an event, marker on its first packet
"""
import math
import struct

SSRC = 0x7E57_0440
PAYLOAD_TYPE_PCMU = 0
PAYLOAD_TYPE_EVENT = 101
SAMPLES = 160  # 20 ms at 8 kHz


def mu_law(sample):
    """G.711 section 3.2, table 2a/2b."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = 7
    while exponent > 0 and not magnitude & (0x80 << exponent):
        exponent -= 1
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 15) & 0xFF


def tone(frame):
    first = frame * SAMPLES
    return bytes(mu_law(round(10000 * math.sin(2 * math.pi * 440 * i / 8000))) for i in range(first, first + SAMPLES))


class Capture:
    def __init__(self, path):
        self.file = open(path, "wb")
        self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        self.sequence = 0

    def packet(self, ms, payload_type, marker, timestamp, payload):
        rtp = struct.pack(">BBHII", 0x80, marker << 7 | payload_type, self.sequence, timestamp, SSRC) + payload
        udp = struct.pack(">HHHH", 6000, 6000, 8 + len(rtp), 0) + rtp
        loopback = bytes((127, 0, 0, 1))
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, loopback, loopback) + udp
        frame = bytes(12) + b"\x08\x00" + ip
        self.file.write(struct.pack("<IIII", ms // 1000, ms % 1000 * 1000, len(frame), len(frame)) + frame)
        self.sequence += 1


def write_tone():
    capture = Capture("tone_440_pcmu.pcap")
    for frame in range(250):
        capture.packet(frame * 20, PAYLOAD_TYPE_PCMU, frame == 0, frame * SAMPLES, tone(frame))


def write_digits():
    capture = Capture("dtmf_12hash.pcap")
    for frame in range(25):
        capture.packet(frame * 20, PAYLOAD_TYPE_PCMU, frame == 0, frame * SAMPLES, tone(frame))
    ms = 500
    for event in (1, 2, 11):
        start = ms * 8
        for step in range(1, 6):
            capture.packet(ms + step * 20 - 20, PAYLOAD_TYPE_EVENT, step == 1, start, struct.pack(">BBH", event, 10, step * SAMPLES))
        for repeat in range(3):
            capture.packet(ms + 100 + repeat, PAYLOAD_TYPE_EVENT, 0, start, struct.pack(">BBH", event, 0x80 | 10, 5 * SAMPLES))
        ms += 160


write_tone()
write_digits()
