import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Call } from '../voice/call';
import type { Trouble } from '../voice/quality';
import { clockTime } from './format';
import { HandsetIcon, HoldIcon, KeypadIcon, MicrophoneIcon, TransferIcon } from './icons';
import { initials } from './incoming';
import { Keys } from './keys';
import { hangUp, hold, mute, now, phone, sendDigit, talkTo } from './store';
import { words } from './strings';
import { Transfer } from './transfer';

const DIGIT = /^[0-9*#]$/;

export function InCall({ call }: { call: Call }) {
  const keypad = useSignal(false);
  const sent = useSignal('');
  const transferring = useSignal(false);
  const panel = useRef<HTMLElement>(null);
  // Drawn anew with every change of a call, and with the clock: what reads a signal is drawn by its signals alone.
  const { other } = phone.value;
  const time = now.value;
  useEffect(() => panel.current?.focus(), []);

  const press = (digit: string) => {
    sent.value = (sent.value + digit).slice(-24);
    void sendDigit(call, digit);
  };
  const active = call.state === 'active';
  const who = call.name ?? (call.number || words.unknownCaller);
  return (
    <section
      ref={panel}
      class={keypad.value || transferring.value ? 'in-call compact' : 'in-call'}
      tabIndex={-1}
      aria-label={`${words[call.state === 'active' ? 'active' : 'call']}: ${who}`}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        if (active && DIGIT.test(event.key)) press(event.key);
        else if (event.key.toLowerCase() === 'm' && !event.repeat) void mute(call, !call.muted);
      }}
    >
      <span class={active ? 'avatar' : 'avatar ringing'} aria-hidden="true">
        <span>{initials(call)}</span>
      </span>
      <p class="name">{who}</p>
      {call.name && <p class="sub">{call.number}</p>}
      {active ? (
        <p class="timer big" role="timer" aria-live="off" aria-label={words.duration}>
          {clockTime(time - (call.answeredAt ?? time))}
        </p>
      ) : (
        <p class="timer" role="status">
          {words[call.state === 'incoming' || call.state === 'ended' ? 'connecting' : call.state]}
        </p>
      )}
      <div class="badges">
        {call.recording && (
          <span class="badge recording" role="status" title={words.recordingLong}>
            <i aria-hidden="true" />
            {words.recording}
          </span>
        )}
        {active && <QualityBadge call={call} />}
      </div>
      {call.interrupted && (
        <p class="banner warn" role="status">
          {words.interrupted}
        </p>
      )}
      {call.microphoneTrouble !== null && (
        <p class="banner warn" role="status">
          {call.microphoneTrouble === 'asking'
            ? words.microphoneAsked
            : (words.errors[call.microphoneTrouble] ?? words.errorOther)}
        </p>
      )}
      {call.soundBlocked && (
        <p class="banner warn" role="status">
          {words.soundBlocked}
        </p>
      )}
      {call.transferringTo !== null && (
        <p class="banner" role="status">
          <span class="spinner" aria-hidden="true" />
          {words.transferringTo(call.transferringTo)}
        </p>
      )}
      {call.held && call.transferringTo === null && (
        <p class="banner warn" role="status">
          {words.held}
        </p>
      )}
      {call.heldByPeer && (
        <p class="banner warn" role="status">
          {words.heldByPeer}
        </p>
      )}
      {transferring.value && active && (
        <Transfer
          call={call}
          mayConsult={other === null}
          onDone={() => {
            transferring.value = false;
          }}
        />
      )}
      {call.muted && (
        <p class="banner warn" role="status">
          {words.muted}
        </p>
      )}
      {keypad.value && (
        <div class="dtmf">
          <output aria-label={words.sent}>{sent.value || '\u00a0'}</output>
          <Keys label={words.keypad} disabled={!active} onKey={press} />
        </div>
      )}
      <div class="controls">
        <button type="button" class="control" aria-pressed={call.muted} onClick={() => void mute(call, !call.muted)}>
          <span class="disc">
            <MicrophoneIcon off={call.muted} />
          </span>
          {call.muted ? words.unmute : words.mute}
        </button>
        <button
          type="button"
          class="control"
          aria-expanded={keypad.value}
          disabled={!active}
          onClick={() => {
            keypad.value = !keypad.value;
            transferring.value = false;
          }}
        >
          <span class="disc">
            <KeypadIcon />
          </span>
          {keypad.value ? words.hideKeypad : words.keypad}
        </button>
        <button
          type="button"
          class="control"
          aria-pressed={call.held}
          disabled={!active || call.transferringTo !== null}
          onClick={() => void (call.held ? talkTo(call) : hold(call))}
        >
          <span class="disc">
            <HoldIcon resume={call.held} />
          </span>
          {call.held ? words.resume : words.hold}
        </button>
        <button
          type="button"
          class="control"
          aria-expanded={transferring.value}
          disabled={!active || call.transferringTo !== null}
          onClick={() => {
            transferring.value = !transferring.value;
            keypad.value = false;
          }}
        >
          <span class="disc">
            <TransferIcon />
          </span>
          {words.transfer}
        </button>
        <button type="button" class="control end" onClick={() => void hangUp(call)}>
          <span class="disc">
            <HandsetIcon down />
          </span>
          {words.hangUp}
        </button>
      </div>
    </section>
  );
}

const TROUBLE_WORDS: Record<Trouble, string> = {
  silent: words.qualitySilent,
  loss: words.qualityLoss,
  jitter: words.qualityJitter,
  rtt: words.qualityRtt,
  mos: words.qualityMos,
};

function QualityBadge({ call }: { call: Call }) {
  const { sample, troubles, upstream } = call;
  if (!sample) return <span class="badge">{words.qualityMeasuring}</span>;
  const [first] = troubles;
  const heardBadly = upstream !== null && (upstream.loss > 0.03 || upstream.jitter_ms > 60 || (upstream.mos ?? 5) < 3);
  const text = first ? TROUBLE_WORDS[first] : heardBadly ? words.qualityUpstream : words.qualityGood;
  const level = first === 'silent' || first === 'mos' ? 'bad' : first || heardBadly ? 'fair' : 'good';
  const rtt = sample.rttMs === null ? '–' : `${Math.round(sample.rttMs)} ms`;
  const detail = words.qualityDetail(`${(sample.loss * 100).toFixed(1)} %`, `${Math.round(sample.jitterMs)} ms`, rtt);
  return (
    <span class={`badge quality ${level}`} title={detail}>
      <span class="bars" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {text}
    </span>
  );
}
