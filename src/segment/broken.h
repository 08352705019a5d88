/* SPDX-License-Identifier: Apache-2.0 */
/** Switches by which a test compiles this folder wrong on purpose, to see that it would notice, or slowly, so that threads and processes meet
 *  in the middle of steps. All are off in everything that is installed. */
#ifndef SEGMENT_BROKEN_H
#define SEGMENT_BROKEN_H

#ifndef SEGMENT_BROKEN_CAS_ONCE
#define SEGMENT_BROKEN_CAS_ONCE 0 /* a writer takes a page for captured when another stored its word first, whatever it stored */
#endif
#ifndef SEGMENT_BROKEN_NO_FINAL
#define SEGMENT_BROKEN_NO_FINAL 0 /* a capture is not checked again after its pages are read */
#endif
#ifndef SEGMENT_BROKEN_NO_DRAIN
#define SEGMENT_BROKEN_NO_DRAIN 0 /* a closed gate counts as drained whoever is inside */
#endif
#ifndef SEGMENT_BROKEN_IN_DOUBT
#define SEGMENT_BROKEN_IN_DOUBT 0 /* a closed gate counts as drained whatever is prepared */
#endif

#ifdef SEGMENT_TEST_PAUSE
void segment_test_pause(void); /* the test has it */
#else
#define segment_test_pause() ((void)0)
#endif

#endif
