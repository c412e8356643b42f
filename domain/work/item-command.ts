/** What can be asked of a work item. */
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import type { LinkedKind, Priority, Relation } from "@millrace/contracts/work/values.ts";

/** The generation the asker saw; left out: any. Another one is refused. */
interface Seen {
  readonly seen?: number;
}

/** The definition of the item's type, resolved at the edge, so that the rules read nothing. */
interface ByWorkflow {
  readonly workflow: Workflow;
}

/** What it leads to was looked up at the edge: it is there, and the asker may see it. */
export interface GivenLink {
  readonly kind: LinkedKind;
  readonly id: string;
  /** Left out: `relates-to`. */
  readonly relation?: Relation;
  readonly commit?: string;
}

export interface OpenItem extends ByWorkflow {
  readonly do: "open";
  readonly title: string;
  readonly description?: string;
  readonly notes?: string;
  readonly assignees?: ReadonlyArray<string>;
  readonly labels?: ReadonlyArray<string>;
  readonly priority?: Priority;
  readonly dueOn?: string;
  readonly links?: ReadonlyArray<GivenLink>;
  /** One id for each line of the type's checklist. */
  readonly lineIds: ReadonlyArray<string>;
}

export interface ChangeItem extends Seen {
  readonly do: "change";
  readonly title?: string;
  readonly description?: string;
  readonly notes?: string;
  /** `null`: none. */
  readonly priority?: Priority | null;
  readonly dueOn?: string | null;
}

export interface ChangeLine extends Seen {
  readonly do: "changeLine";
  /** Its id or its key. */
  readonly line: string;
  readonly done?: boolean;
  readonly text?: string;
  /** Its new place in the list, from 0; beyond the end: the end. */
  readonly index?: number;
}

export type TransitionItem = Seen & ByWorkflow & { readonly do: "transition"; readonly to: string };
export type WaiveGate = Seen & ByWorkflow & { readonly do: "waive"; readonly gate: string; readonly reason: string };

export type ListCommand = Seen &
  (
    | { readonly do: "assign" | "unassign"; readonly assignees: ReadonlyArray<string> }
    | { readonly do: "label" | "unlabel"; readonly labels: ReadonlyArray<string> }
  );

export type LinkCommand = Seen &
  (
    | { readonly do: "link"; readonly links: ReadonlyArray<GivenLink> }
    | { readonly do: "unlink"; readonly links: ReadonlyArray<Pick<GivenLink, "kind" | "id">> }
  );

export type ChecklistCommand =
  | ChangeLine
  | (Seen &
      (
        | {
            readonly do: "addLine";
            readonly line: string;
            readonly text: string;
            readonly required?: boolean;
            /** Place in the list, from 0; left out or beyond the end: the end. */
            readonly index?: number;
          }
        | { readonly do: "removeLine"; readonly line: string }
      ));

export type CommentCommand = Seen &
  (
    | { readonly do: "comment" | "editComment"; readonly comment: string; readonly text: string }
    /** @property moderator may remove what others wrote */
    | { readonly do: "removeComment"; readonly comment: string; readonly moderator?: boolean }
  );

export type AttachmentCommand = Seen &
  (
    | {
        readonly do: "attach";
        readonly attachment: string;
        readonly name: string;
        /** What lies in the store already, by content. */
        readonly bytes: number;
        readonly sha256: string;
        readonly mediaType: string;
      }
    | { readonly do: "detach"; readonly attachment: string }
  );

export type ItemCommand =
  | OpenItem
  | ChangeItem
  | ListCommand
  | LinkCommand
  | ChecklistCommand
  | TransitionItem
  | WaiveGate
  | CommentCommand
  | AttachmentCommand
  | (Seen & { readonly do: "delete" });
