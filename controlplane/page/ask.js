// How all parts of the status page ask the API.
'use strict';

const PATIENCE_MS = 5000;     // for an answer

async function get(path) {
  const answer = await fetch(path, {signal: AbortSignal.timeout(PATIENCE_MS), cache: 'no-store'});
  if (answer.ok) return answer.json();
  const {error} = await answer.json().catch(() => ({}));
  throw new Error(error || `${path}: status ${answer.status}`);
}

/// Does something again and again: after a while, or soon when there is news. What takes long comes less often,
/// and a page that nobody looks at asks nothing.
class Repeated {
  constructor(period, work) {
    this.period = period;
    this.work = work;
    this.busy = this.again = false;
    this.run();
  }
  soon() {
    if (this.busy) this.again = true;
    else this.wait(50);
  }
  wait(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), ms);
  }
  async run() {
    if (document.hidden) return this.wait(this.period);
    const begun = performance.now();
    this.busy = true;
    this.again = false;
    try {
      await this.work();
    } catch (error) {
      lose(error);
    }
    this.busy = false;
    this.wait(this.again ? 100 : Math.max(this.period, 3 * (performance.now() - begun)));
  }
}

function lose(error) {
  setText($('link'), `no answer (${error.message}); what is shown is old`);
  $('link').className = 'lost';
}
