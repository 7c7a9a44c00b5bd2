// Calls Goldcrest by the client that oapi-codegen made.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"example.org/generated/client"
)

func main() {
	ctx := context.Background()
	home := os.Getenv("GOLDCREST_TEST_WORKDIR")
	authorize := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("GOLDCREST_TEST_TOKEN"))
		return nil
	}
	api, err := client.NewClientWithResponses(os.Getenv("GOLDCREST_TEST_URL"), client.WithRequestEditorFn(authorize))
	check(err)

	systems, err := api.GetSystemsStatusSystemsGetWithResponse(ctx)
	check(err)
	expect(systems.JSON200 != nil && systems.JSON200.Systems[0].Name == "local", systems.Status())

	script, output, name := "#!/bin/sh\necho from go\n", "go.out", "go"
	job := client.JobDescriptionModel{WorkingDirectory: home, Name: &name, StandardOutput: &output, Script: &script}
	submitted, err := api.PostJobSubmitComputeSystemNameJobsPostWithResponse(ctx, "local", nil, client.PostJobSubmitRequest{Job: job})
	check(err)
	expect(submitted.JSON201 != nil, submitted.Status())

	state := ""
	for try := 0; try < 100 && state != "COMPLETED" && state != "FAILED"; try++ {
		time.Sleep(100 * time.Millisecond)
		found, err := api.GetJobComputeSystemNameJobsJobIdGetWithResponse(ctx, "local", *submitted.JSON201.JobId, nil)
		check(err)
		expect(found.JSON200 != nil, found.Status())
		state = (*found.JSON200.Jobs)[0].Status.State
	}
	expect(state == "COMPLETED", state)

	at := func(path string) *client.GetViewFilesystemSystemNameOpsViewGetParams {
		return &client.GetViewFilesystemSystemNameOpsViewGetParams{Path: home + path}
	}
	viewed, err := api.GetViewFilesystemSystemNameOpsViewGetWithResponse(ctx, "local", at("/go.out"))
	check(err)
	expect(viewed.JSON200 != nil && *viewed.JSON200.Output == "from go\n", viewed.Status())
	missing, err := api.GetViewFilesystemSystemNameOpsViewGetWithResponse(ctx, "local", at("/none"))
	check(err)
	problem := missing.ApplicationproblemJSON4XX
	expect(problem != nil && strings.Contains(problem.Message, "No such file"), missing.Status())
	fmt.Println("go: 5 calls answered")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(held bool, seen string) {
	if !held {
		log.Fatal("unexpected: ", seen)
	}
}
