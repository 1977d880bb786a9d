package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rollcall/rollcall/client"
)

// healthWords say what an event means that is about how something is, and not about what it is.
func healthWords(e client.Event) string {
	var d struct {
		Service     string            `json:"service"`
		ID          string            `json:"id"`
		Node        string            `json:"node"`
		Check       string            `json:"check"`
		Status      string            `json:"status"`
		Was         string            `json:"was"`
		Server      string            `json:"server"`
		Epoch       uint64            `json:"epoch"`
		Enabled     bool              `json:"enabled"`
		Reason      string            `json:"reason"`
		Names       []string          `json:"names"`
		DNSTTL      string            `json:"dns_ttl"`
		OnlyPassing bool              `json:"only_passing"`
		Address     string            `json:"address"`
		Meta        map[string]string `json:"meta"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	if d.Reason == e.Reason { // which is told of every event
		d.Reason = ""
	}
	instance := plain(d.Service) + "/" + plain(d.ID)
	switch e.Type {
	case "rollcall.service.status":
		text := fmt.Sprintf("status      %s: check %s %s → %s", instance, plain(d.Check), plain(d.Was), plain(d.Status))
		switch {
		case d.Server != "":
			text += ", seen by server " + plain(d.Server)
		case d.Epoch != 0:
			text += ", as nothing was reported in time"
		}
		return text
	case "rollcall.service.maintenance":
		return "maintenance " + instance + maintenanceWords(d.Enabled, d.Reason)
	case "rollcall.node.maintenance":
		return "maintenance node " + plain(d.Node) + maintenanceWords(d.Enabled, d.Reason)
	case "rollcall.service.credentials":
		if len(d.Names) == 0 {
			return "credentials " + instance + ": none"
		}
		return fmt.Sprintf("credentials %s: %s", instance, plain(strings.Join(d.Names, " ")))
	case "rollcall.service.configure":
		use := "a warning counts as passing"
		if d.OnlyPassing {
			use = "instances in warning are kept out of use"
		}
		return fmt.Sprintf("configure   service %s: DNS TTL %s, %s", plain(d.Service), plain(d.DNSTTL), use)
	case "rollcall.node.put":
		return strings.TrimRight(fmt.Sprintf("node        %s at %s %s", plain(d.Node), plain(d.Address), metaWords(d.Meta)), " ")
	case "rollcall.node.delete":
		return fmt.Sprintf("delete      node %s", plain(d.Node))
	}
	return ""
}

func maintenanceWords(enabled bool, reason string) string {
	switch {
	case !enabled:
		return " is over"
	case reason == "":
		return " begins"
	}
	return " begins: " + plain(reason)
}
