// Package topo builds networks out of namespaces for scenario tests: namespaces,
// cables between them with delay and loss, processes inside, and waiting for
// conditions. Everything it made is gone when the test ends, however it ends.
//
//	lab := topo.New(t)
//	router, isp := lab.NS("router"), lab.NS("isp")
//	lab.Link(router.Port("wan0", ""), isp.Port("isp0", ""), topo.Cable{Delay: 10 * time.Millisecond})
//	isp.Addr("isp0", "2001:db8::1/64")
//	router.Up("wan0")
//	isp.Up("isp0")
//	radvd := isp.Start("radvd", "-n", "-C", conf)
//	lab.Eventually(5*time.Second, "a default route", func() error { … })
//
// It needs root. The kernel is spoken to over netlink rather than through ip(8),
// because starting a process is slow in the lab kernel. Mistakes in building end
// the test at once (Fatalf), so that a scenario reads as what it is about.
package topo
