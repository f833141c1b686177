/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What becomes of a frame, as the program counts it and the loader reads it.
 */
#ifndef LINIMO_BPF_DECAP_VERDICT_H
#define LINIMO_BPF_DECAP_VERDICT_H

enum linimo_decap_verdict {
  LINIMO_DECAP_PASSED,  /* no tunnel of ours: the stack's to judge */
  LINIMO_DECAP_REMOVED, /* the inner packet went up */
  LINIMO_DECAP_DROPPED, /* congestion that its sender could not be told of (RFC 6040), or cut short */
  LINIMO_DECAP_VERDICTS
};

#endif
