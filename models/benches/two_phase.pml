/*
 * Two-phase commit as Gray and Lamport specify it, in the message set, for Spin.
 *
 * The yardstick of models/yardstick.rs in another tool's language. One process whose every step is
 * one indivisible branch, so that the states that Spin stores are the states of the specification
 * and nothing between them. N, from 1 to 10, is the number of resource managers:
 *
 *     spin -a -DN=8 two_phase.pml && cc -O3 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E
 *
 * -E, because it is right that nothing is left to do in the end.
 *
 * Spin gets the best of it: sets are words of bits, and a delivery that changes nothing is no step.
 */
#ifndef N
#define N 3
#endif

#define ALL ((1 << N) - 1)
#define BIT(rm) (1 << rm)

/* A resource manager is at work if it is in none of these. */
short prepared;
short committed;
short aborted;

/* The transaction manager: whom it knows to be prepared, and whether it has spoken. */
short known;
bool decided;

/* What was sent. */
short sent_prepared;
bool sent_commit;
bool sent_abort;

/* Nobody commits when another one aborts. */
#define CONSISTENT assert(committed == 0 || aborted == 0)

#define RESOURCE(rm) \
	:: d_step { !((prepared | committed | aborted) & BIT(rm)) -> \
		prepared = prepared | BIT(rm); sent_prepared = sent_prepared | BIT(rm) } \
	:: d_step { !((prepared | committed | aborted) & BIT(rm)) -> \
		aborted = aborted | BIT(rm); CONSISTENT } \
	:: d_step { sent_commit && !(committed & BIT(rm)) -> \
		prepared = prepared & ~BIT(rm); aborted = aborted & ~BIT(rm); \
		committed = committed | BIT(rm); CONSISTENT } \
	:: d_step { sent_abort && !(aborted & BIT(rm)) -> \
		prepared = prepared & ~BIT(rm); committed = committed & ~BIT(rm); \
		aborted = aborted | BIT(rm); CONSISTENT } \
	:: d_step { !decided && (sent_prepared & BIT(rm)) && !(known & BIT(rm)) -> \
		known = known | BIT(rm) }

active proctype two_phase()
{
	do
	:: d_step { !decided && known == ALL -> decided = true; sent_commit = true }
	:: d_step { !decided -> decided = true; sent_abort = true }
	RESOURCE(0)
#if N > 1
	RESOURCE(1)
#endif
#if N > 2
	RESOURCE(2)
#endif
#if N > 3
	RESOURCE(3)
#endif
#if N > 4
	RESOURCE(4)
#endif
#if N > 5
	RESOURCE(5)
#endif
#if N > 6
	RESOURCE(6)
#endif
#if N > 7
	RESOURCE(7)
#endif
#if N > 8
	RESOURCE(8)
#endif
#if N > 9
	RESOURCE(9)
#endif
	od
}
