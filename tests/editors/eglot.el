;;; eglot.el --- what Emacs gets of Pellucid through eglot, printed as JSON  -*- lexical-binding: t -*-

;; EGLOT_TEST is a JSON object: python, the interpreter; settings, of the language server; file, a Python file.
;; The cursor goes to the first end of a line that is "    re".

(require 'eglot)
(require 'json)

(setq eglot-sync-connect 30
      jsonrpc-default-request-timeout 60
      eglot-autoshutdown t
      create-lockfiles nil)

(let* ((given (json-parse-string (getenv "EGLOT_TEST") :object-type 'plist :false-object :json-false))
       (file (plist-get given :file))
       (folder (file-name-directory file)))
  (setq-default project-find-functions (list (lambda (_) (cons 'transient folder))))
  (setq eglot-server-programs
        `((python-mode . (,(plist-get given :python) "-m" "pellucid" "lsp"
                          :initializationOptions ,(plist-get given :settings)))))
  (with-current-buffer (find-file-noselect file)
    (python-mode)
    (apply #'eglot--connect (eglot--guess-contact))
    (let ((server (eglot-current-server)))
      (eglot--managed-mode 1)
      (goto-char (point-min))
      (re-search-forward "^    re$")
      (let* ((capf (eglot-completion-at-point))
             (candidates (all-completions (buffer-substring (nth 0 capf) (nth 1 capf)) (nth 2 capf)))
             (exit (plist-get (nthcdr 3 capf) :exit-function))
             (inline (jsonrpc-request server :textDocument/inlineCompletion
                                      (append (eglot--TextDocumentPositionParams) '(:context (:triggerKind 1))))))
        (delete-region (nth 0 capf) (point))
        (insert (car candidates))
        (funcall exit (car candidates) 'finished)
        (princ (json-serialize
                (list :candidates (vconcat (mapcar #'substring-no-properties candidates))
                      :inline inline
                      :text (buffer-string))
                :false-object :json-false)))
      (set-buffer-modified-p nil)
      (eglot-shutdown server))))

;;; eglot.el ends here
