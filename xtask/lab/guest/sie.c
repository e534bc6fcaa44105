// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scripted SIE: what stands in for the hardware in the s390x lab.
 *
 * QEMU's emulation has no START INTERPRETIVE EXECUTION. This file is linked into the distribution's own kvm.ko
 * (xtask/lab/src/sie.rs), whose references to sie64a() and to `sclp` are renamed to the two objects below. Every
 * other line of KVM that runs is the shipped one: intercept handlers, interrupt delivery, statistics, tracepoints.
 *
 * Instead of running a guest, "entering SIE" takes one record from a script in the VMM's own memory and copies it
 * into the SIE control block, as the hardware would leave it there. The script's address is the guest's program
 * parameter register, which the VMM sets by KVM_SYNC_ARCH0 and KVM keeps for each vCPU: no globals, no ioctls.
 * tests/src/sie/script.rs writes the records.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

/* Offsets in struct kvm_s390_sie_block, arch/s390/include/asm/kvm_host.h. */
#define PROG0C   0x0c
#define PROG20   0x20
#define ICPTCODE 0x50
#define ICPTSTAT 0x51
#define IPA      0x56
#define IPB      0x58
#define GPSWM    0x90
#define GPSWA    0x98
#define GG14     0xa0
#define EIC      0xc6
#define IPRCC    0xce
#define PP       0x1de		/* not aligned */

struct rec {			/* 64 bytes */
	u8  icptcode;
	u8  flags;
	u16 ipa;
	u32 ipb;
	u16 iprcc;		/* program interruption code, for icptcode 8 */
	u16 eic;		/* external interruption code, for icptcode 0x14 */
	u32 ticks;		/* time in the guest, in TOD units: 4096 are 1 us */
	u64 pswmask, pswaddr;	/* if R_PSW */
	u64 r1, r2, r3;		/* if R_GPR */
	u64 next;		/* address of the next record; 0 for the one that follows */
};
#define R_PSW   0x01
#define R_GPR   0x02
#define R_FAULT 0x04		/* return -EFAULT, as after a host fault inside SIE */

extern u64 raw_copy_from_user(void *to, const void *from, u64 n);

#define SCLP_BYTES 128
extern u8 sclp[SCLP_BYTES];	/* the kernel's own */
u8 fake_sclp[SCLP_BYTES];	/* what kvm.ko sees */
extern int kvm_s390_init(void);	/* the module's real module_init */

int init_module(void)
{
	int i;

	for (i = 0; i < 96; i++)
		fake_sclp[i] = sclp[i];
	fake_sclp[SIEF2_BYTE] |= SIEF2_MASK;	/* has_sief2 */
	return kvm_s390_init();
}

static inline u64 tod(void)
{
	u64 t;

	asm volatile("stckf %0" : "=Q"(t) : : "cc", "memory");
	return t;
}

static inline u64 get_pp(u8 *scb)
{
	u64 v;

	__builtin_memcpy(&v, scb + PP, 8);
	return v;
}

static inline void set_pp(u8 *scb, u64 v)
{
	__builtin_memcpy(scb + PP, &v, 8);
}

#ifdef SIE64A_WITH_ASCE	/* 6.12: __sie64a(real address of the block, block, gprs, address space) */
int fake_sie64a(u64 phys, u8 *scb, u64 *gprs, u64 asce)
#else			/* 6.1: sie64a(block, gprs) */
int fake_sie64a(u8 *scb, u64 *gprs)
#endif
{
	volatile u32 *prog0c = (volatile u32 *)(scb + PROG0C);
	volatile u32 *prog20 = (volatile u32 *)(scb + PROG20);
	struct rec r;
	u64 pp, end;
	int rc = 0;

	pp = get_pp(scb);
	if (!pp || raw_copy_from_user(&r, (void *)pp, sizeof(r)))
		return 0;	/* no script: as if for a host interruption */

	*prog0c |= 1;		/* PROG_IN_SIE */
	asm volatile("bcr 15,0" : : : "memory");
	if (*prog20 & 3)	/* PROG_BLOCK_SIE | PROG_REQUEST: somebody wants us out */
		goto out;	/* record not consumed */

	end = tod() + r.ticks;
	if (r.ticks)
		while ((long)(tod() - end) < 0)
			if (*prog20 & 3)
				goto out;

	if (r.flags & R_PSW) {
		*(u64 *)(scb + GPSWM) = r.pswmask;
		*(u64 *)(scb + GPSWA) = r.pswaddr;
	}
	if (r.flags & R_GPR) {
		gprs[1] = r.r1;
		gprs[2] = r.r2;
		gprs[3] = r.r3;
	}
	*(u16 *)(scb + IPA) = r.ipa;
	*(u32 *)(scb + IPB) = r.ipb;
	*(u16 *)(scb + IPRCC) = r.iprcc;
	*(u16 *)(scb + EIC) = r.eic;
	scb[ICPTSTAT] = 0;
	scb[ICPTCODE] = r.icptcode;
	if (r.flags & R_FAULT)
		rc = -14;
	set_pp(scb, r.next ? r.next : pp + sizeof(r));
out:
	asm volatile("bcr 15,0" : : : "memory");
	*prog0c &= ~1u;
	return rc;
}
