// Command node runs one program of a Kubernetes cluster, named by its first argument: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler or kubelet. One binary for all of them links their common libraries once. `node stop-pods ENDPOINT` ends the pods of a
// container runtime.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/version"
	cri "k8s.io/cri-client/pkg"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: node PROGRAM [FLAG...] | node stop-pods ENDPOINT")
		os.Exit(2)
	}
	// Each program reads its own name and flags from os.Args.
	os.Args = os.Args[1:]
	var command *cobra.Command
	switch name := os.Args[0]; name {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "stop-pods":
		command = &cobra.Command{Use: "stop-pods ENDPOINT", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			return stopPods(context.Background(), args[0])
		}}
	default:
		fmt.Fprintln(os.Stderr, "node: unknown program", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}

// stopPods ends and removes every pod that the runtime has, as a kubelet would, and goes on after a failure.
func stopPods(ctx context.Context, endpoint string) error {
	runtime, err := cri.NewRemoteRuntimeService(endpoint, 20*time.Second, nil, nil)
	if err != nil {
		return err
	}
	pods, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	var failures []error
	for _, pod := range pods {
		failures = append(failures, runtime.StopPodSandbox(ctx, pod.Id), runtime.RemovePodSandbox(ctx, pod.Id))
	}
	return errors.Join(failures...)
}
